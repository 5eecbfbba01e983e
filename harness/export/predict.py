"""Runs an exported model with onnxruntime, tokenizers and numpy alone: no torch, no transformers.

    python predict.py [--file onnx/model_int8.onnx] "A sentence." ["Another." ...]

Without a text it reads lines from standard input. A model of two texts takes them as one, with a tab between
them. It prints a JSON object a text: of a tagger the tokens and their labels, of a classifier the label and
its probability.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}

AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")


class Model:
    """An exported folder; ``say`` gives what it says of one text."""

    def __init__(self, folder: Path = HERE, file: str | None = None) -> None:
        """Opens the folder.

        Raises:
            SystemExit: a file is missing or broken; the message says which, and what to do.
        """
        path = folder / (file or _default(folder))
        try:
            self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each library raises its own
            told = " ".join(str(error).split())[:200]
            raise SystemExit(
                f"predict: wanted a whole model in '{path}'; got {told}; export it again"
            ) from None
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.paired = bool(_record(folder).get("paired"))
        self.labels = {int(place): name for place, name in self.config["id2label"].items()}
        self.room = room(self.config)

    def say(self, text: str) -> dict[str, object]:
        """Gives tokens with labels, or the label of the text.

        Raises:
            ValueError: an empty text, no second text where the model takes two, or more tokens than it takes.
        """
        if not text.strip():
            raise ValueError("wanted a text; got an empty one; type a sentence")
        first, _, second = text.partition("\t")
        if self.paired and not (first.strip() and second.strip()):
            raise ValueError("wanted two texts with a tab between them; got one; add the other")
        encoded = self.tokenizer.encode(first, second) if self.paired else self.tokenizer.encode(text)
        if len(encoded.ids) > self.room:
            raise ValueError(f"wanted {self.room} tokens at most; got {len(encoded.ids)}; cut the text")
        given = {
            one.name: np.array([getattr(encoded, INPUTS[one.name])]) for one in self.session.get_inputs()
        }
        logits = self.session.run(None, given)[0][0]
        if logits.ndim == 1:
            shares = np.exp(logits - logits.max())
            best = int(logits.argmax())
            probability = round(float(shares[best] / shares.sum()), 4)
            return {"ids": encoded.ids, "label": self.labels[best], "probability": probability}
        kept = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        return {
            "tokens": [encoded.tokens[place] for place in kept],
            "ids": [encoded.ids[place] for place in kept],
            "labels": [self.labels[int(logits[place].argmax())] for place in kept],
        }


def room(config: dict[str, Any]) -> int:
    """Gives how many tokens a model takes: some families number positions from the padding's id on."""
    kept = (config.get("pad_token_id") or 0) + 1 if config["model_type"] in AFTER_PADDING else 0
    return int(config["max_position_embeddings"]) - kept


def _default(folder: Path) -> str:
    record = _record(folder)
    try:
        return str(next(row["file"] for row in record["files"] if row["precision"] == record["default"]))
    except (KeyError, StopIteration):
        return "model.onnx"


def _record(folder: Path) -> dict[str, Any]:
    """Gives what the export said of itself; nothing where it is missing or broken."""
    try:
        return dict(json.loads((folder / "export.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _lines() -> list[str]:
    try:
        return sys.stdin.buffer.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SystemExit(
            f"predict: wanted UTF-8; got byte {error.start} that is none; convert the text"
        ) from None


def main() -> None:
    """Reads the command line."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--file", help="which model of the folder; else the one that export.json names")
    asked.add_argument("texts", nargs="*")
    told = asked.parse_args()
    model = Model(file=told.file)
    for text in told.texts or _lines():
        try:
            text.encode("utf-8")
            said = model.say(text)
        except UnicodeEncodeError:
            raise SystemExit("predict: wanted UTF-8; got bytes that are none; convert the text") from None
        except ValueError as error:
            raise SystemExit(f"predict: {error}") from None
        sys.stdout.write(json.dumps(said, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
