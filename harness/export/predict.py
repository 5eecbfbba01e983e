"""Run an exported model with onnxruntime, tokenizers and numpy alone: no torch, no transformers.

    python predict.py [--file onnx/model_int8.onnx] [--pieces] "A sentence." ["Another." ...]

Without a text it reads lines from standard input. For a model of two texts, put a tab between them. It prints
a JSON object for each text: of a tagger the words with a label and its probability each, and the spans that
the labels form; of a classifier the label, or a probability for each label where several may hold; of a
regression its value. With --pieces it prints sub-words and their ids.
"""

import argparse
import json
import signal
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
APOSTROPHES = "'’"
JOINING = APOSTROPHES + "-.·"
"""Signs that belong to a word between two of its letters."""

AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")
"""Families that number positions from the padding token's id on."""


class Predictor:
    """The model of an exported folder; ``label`` labels the words of a text, or the text."""

    def __init__(self, folder: Path = HERE, file: str | None = None) -> None:
        """Open the folder.

        Raises:
            SystemExit: a file is missing or broken; the message says which, and what to do.
        """
        path = folder / (file or _default_file(folder))
        try:
            self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each library raises its own
            reason = " ".join(str(error).split())[:200]
            raise SystemExit(
                f"predict: expected a whole model in '{path}'; got {reason}; export it again"
            ) from None
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.paired = bool(_read_record(folder).get("paired"))
        self.labels = {int(place): name for place, name in self.config["id2label"].items()}
        given = self.config.get("problem_type")
        self.problem = None if given == "single_label_classification" else given
        self.max_tokens = max_input_tokens(self.config)

    def predict(self, text: str) -> dict[str, object]:
        """Return the sub-words with their labels, or what the head says of a text that fits the model.

        Raises:
            ValueError: an empty text, no second text where the model takes two, or too many tokens.
        """
        encoded = self._encode(text)
        if len(encoded.ids) > self.max_tokens:
            raise ValueError(
                f"expected {self.max_tokens} tokens at most; got {len(encoded.ids)}; cut the text"
            )
        logits = self._run(encoded.ids, encoded.type_ids)
        if logits.ndim == 1:
            return {"ids": encoded.ids, **self._name_outputs(self._activate(logits))}
        kept = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        return {
            "tokens": [encoded.tokens[place] for place in kept],
            "ids": [encoded.ids[place] for place in kept],
            "labels": [self.labels[int(logits[place].argmax())] for place in kept],
        }

    def label(self, text: str) -> dict[str, Any]:
        """Return the words of a text with a label and a confidence each, or the label of the text.

        A text that is too long is read in overlapping windows: a word takes its label from the window in
        which it has most context, a text the mean of its windows. Of labels in IOB2 the spans are returned.

        Raises:
            ValueError: an empty text, no second text where the model takes two, or a pair that is too long.
        """
        encoded = self._encode(text)
        if self.paired:
            if len(encoded.ids) > self.max_tokens:
                raise ValueError(
                    f"expected {self.max_tokens} tokens at most; got {len(encoded.ids)}; cut the texts"
                )
            return self._name_outputs(self._activate(self._run(encoded.ids, encoded.type_ids)))
        inner = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        windows = split_windows(len(inner), self.max_tokens - len(encoded.ids) + len(inner))
        outputs = [self._run_window(encoded, inner, window) for window in windows]
        if outputs and outputs[0].ndim == 1:
            weights = [stop - start for start, stop in windows]
            shares = [self._activate(one) for one in outputs]
            return self._name_outputs(np.average(shares, axis=0, weights=weights))
        offsets = [encoded.offsets[place] for place in inner]
        words = [
            {"word": text[start:end], **self._label_word(start, end, offsets, windows, outputs)}
            for start, end in split_words(text)
        ]
        spans = join_spans(text, words)
        return {"words": words} | ({"spans": spans} if self._has_spans() else {})

    def _encode(self, text: str) -> Any:
        if not text.strip():
            raise ValueError("expected a text; got an empty one; type a sentence")
        first, _, second = text.partition("\t")
        if self.paired and not (first.strip() and second.strip()):
            raise ValueError("expected two texts with a tab between them; got one; add the other")
        return self.tokenizer.encode(first, second) if self.paired else self.tokenizer.encode(text)

    def _run(self, ids: list[int], type_ids: list[int]) -> Any:
        """Return the logits of one row."""
        row = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": type_ids}
        inputs = {one.name: np.array([row[one.name]], np.int64) for one in self.session.get_inputs()}
        return self.session.run(None, inputs)[0][0]

    def _run_window(self, encoded: Any, inner: list[int], window: tuple[int, int]) -> Any:
        """Return the logits of a window of the sub-words, which the special tokens are put around."""
        start, stop = window
        before = encoded.ids[: inner[0]] if inner else encoded.ids[:1]
        after = encoded.ids[inner[-1] + 1 :] if inner else encoded.ids[1:]
        ids = [*before, *(encoded.ids[place] for place in inner[start:stop]), *after]
        logits = self._run(ids, [0] * len(ids))
        return logits if logits.ndim == 1 else logits[len(before) : len(before) + stop - start]

    def _activate(self, logits: Any) -> Any:
        """Return the probabilities of a text's labels, or the numbers of a regression."""
        logits = logits.astype(np.float64)
        if self.problem == "regression":
            return logits
        several = self.problem == "multi_label_classification"
        return np.exp(-np.logaddexp(0, -logits)) if several else _softmax(logits)

    def _name_outputs(self, outputs: Any) -> dict[str, Any]:
        """Return what the outputs of a text mean, as ``problem_type`` of config.json says."""
        named = {self.labels[place]: round(float(one), 4) for place, one in enumerate(outputs)}
        if self.problem == "regression":
            return {"values": named} if len(named) > 1 else {"value": next(iter(named.values()))}
        return {"probabilities": named} if self.problem else self._name_class(outputs)

    def _name_class(self, shares: Any) -> dict[str, Any]:
        best = int(np.argmax(shares))
        return {"label": self.labels[best], "probability": round(float(shares[best]), 4)}

    def _label_word(
        self,
        start: int,
        end: int,
        offsets: list[tuple[int, int]],
        windows: list[tuple[int, int]],
        outputs: list[Any],
    ) -> dict[str, Any]:
        """Return the label of a word: that of its first sub-word, as in training; none if it has none."""
        place = next((n for n, (left, right) in enumerate(offsets) if left < end and right > start), None)
        if place is None:
            return {"label": None, "probability": None, "start": start, "end": end}
        index = max(
            (number for number, (left, right) in enumerate(windows) if left <= place < right),
            key=lambda number: min(place - windows[number][0], windows[number][1] - place),
        )
        named = self._name_class(_softmax(outputs[index][place - windows[index][0]]))
        return {**named, "start": start, "end": end}

    def _has_spans(self) -> bool:
        return any(label.startswith(("B-", "I-")) for label in self.labels.values())


def _softmax(logits: Any) -> Any:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def split_windows(count: int, room: int) -> list[tuple[int, int]]:
    """Return windows of at most ``room`` items, of which neighbours share a quarter; one where all fit."""
    if count <= room:
        return [(0, count)]
    step = max(1, room - room // 4)
    starts = range(0, count - room + step, step)
    return [(min(start, count - room), min(start, count - room) + room) for start in starts]


def split_words(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each word: letters, digits and marks, and each other sign by itself.

    An apostrophe, a hyphen or a dot between two letters belongs to the word, and so does an apostrophe after
    the last one, unless it closes a quotation.
    """
    quoted = any(sign in APOSTROPHES and _opens(text, place) for place, sign in enumerate(text))
    words: list[tuple[int, int]] = []
    for place, letter in enumerate(text):
        if letter.isspace():
            continue
        follows = bool(words) and words[-1][1] == place and _in_word(text, words[-1][0])
        between = letter in JOINING and _in_word(text, place - 1) and _in_word(text, place + 1)
        last = letter in APOSTROPHES and _in_word(text, place - 1) and not quoted
        if follows and (between or last or _in_word(text, place)):
            words[-1] = (words[-1][0], place + 1)
        else:
            words.append((place, place + 1))
    return words


def _opens(text: str, place: int) -> bool:
    return _in_word(text, place + 1) and not _in_word(text, place - 1)


def _in_word(text: str, place: int) -> bool:
    """Whether a place of a text holds a letter, a digit or a mark."""
    if not 0 <= place < len(text):
        return False
    letter = text[place]
    return unicodedata.category(letter)[0] in "LMN" or letter in "\u200c\u200d"


def join_spans(text: str, words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the spans that labels in IOB2 form, with the confidence of the least certain word of each."""
    spans: list[dict[str, Any]] = []
    kind = None
    for word in words:
        prefix, _, name = str(word["label"] or "O").partition("-")
        if prefix == "I" and name == kind and spans:
            span = spans[-1]
            span["end"], span["probability"] = word["end"], min(span["probability"], word["probability"])
            span["text"] = text[span["start"] : span["end"]]
        elif name:
            spans.append(
                {"text": word["word"], "label": name}
                | {key: word[key] for key in ("probability", "start", "end")}
            )
        kind = name or None
    return spans


def max_input_tokens(config: dict[str, Any]) -> int:
    """Return how many tokens a model takes: some families number positions from the padding token's id on."""
    unused = (config.get("pad_token_id") or 0) + 1 if config["model_type"] in AFTER_PADDING else 0
    return int(config["max_position_embeddings"]) - unused


def _default_file(folder: Path) -> str:
    record = _read_record(folder)
    try:
        return str(next(row["file"] for row in record["files"] if row["precision"] == record["default"]))
    except (KeyError, StopIteration):
        return "model.onnx"


def _read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the export; empty where the record is missing or broken."""
    try:
        return dict(json.loads((folder / "export.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _read_lines() -> list[str]:
    """Return the lines of standard input; only a line feed ends a line, with a carriage return before it."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
        return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    except UnicodeDecodeError as error:
        raise SystemExit(
            f"predict: expected UTF-8; got byte {error.start} that is none; convert the text"
        ) from None


def _print_line(prediction: dict[str, object]) -> None:
    """Print a JSON object, with escapes where the terminal cannot show its characters."""
    line = json.dumps(prediction, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(prediction)
    sys.stdout.write(line + "\n")


def main() -> None:
    """Predict the texts of the command line, or the lines of standard input."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe ends the program, as of any filter
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", help="which model of the folder; else the default of export.json")
    parser.add_argument("--pieces", action="store_true", help="print sub-words and ids in place of words")
    parser.add_argument("texts", nargs="*")
    arguments = parser.parse_args()
    predictor = Predictor(file=arguments.file)
    for text in arguments.texts or _read_lines():
        try:
            text.encode("utf-8")
            prediction = predictor.predict(text) if arguments.pieces else predictor.label(text)
        except UnicodeEncodeError:
            raise SystemExit("predict: expected UTF-8; got bytes that are none; convert the text") from None
        except ValueError as error:
            raise SystemExit(f"predict: {error}") from None
        _print_line(prediction)


if __name__ == "__main__":
    main()
