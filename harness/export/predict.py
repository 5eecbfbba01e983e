"""Run an exported model with onnxruntime, tokenizers and numpy alone: no torch, no transformers.

    python predict.py [--file onnx/model_int8.onnx] "A sentence." ["Another." ...]

Without a text it reads lines from standard input. For a model of two texts, put a tab between them. It prints
a JSON object for each text: of a tagger the tokens and their labels, of a classifier the label and its
probability.
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
"""Families that number positions from the padding token's id on."""


class Predictor:
    """The model of an exported folder; ``predict`` labels one text."""

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
        self.max_tokens = max_input_tokens(self.config)

    def predict(self, text: str) -> dict[str, object]:
        """Return the tokens with their labels, or the label of the text.

        Raises:
            ValueError: an empty text, no second text where the model takes two, or too many tokens.
        """
        if not text.strip():
            raise ValueError("expected a text; got an empty one; type a sentence")
        first, _, second = text.partition("\t")
        if self.paired and not (first.strip() and second.strip()):
            raise ValueError("expected two texts with a tab between them; got one; add the other")
        encoded = self.tokenizer.encode(first, second) if self.paired else self.tokenizer.encode(text)
        if len(encoded.ids) > self.max_tokens:
            raise ValueError(
                f"expected {self.max_tokens} tokens at most; got {len(encoded.ids)}; cut the text"
            )
        inputs = {
            one.name: np.array([getattr(encoded, INPUTS[one.name])]) for one in self.session.get_inputs()
        }
        logits = self.session.run(None, inputs)[0][0]
        if logits.ndim == 1:
            weights = np.exp(logits - logits.max())
            best = int(logits.argmax())
            probability = round(float(weights[best] / weights.sum()), 4)
            return {"ids": encoded.ids, "label": self.labels[best], "probability": probability}
        kept = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        return {
            "tokens": [encoded.tokens[place] for place in kept],
            "ids": [encoded.ids[place] for place in kept],
            "labels": [self.labels[int(logits[place].argmax())] for place in kept],
        }


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
    try:
        return sys.stdin.buffer.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SystemExit(
            f"predict: expected UTF-8; got byte {error.start} that is none; convert the text"
        ) from None


def main() -> None:
    """Predict the texts of the command line, or the lines of standard input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", help="which model of the folder; else the default of export.json")
    parser.add_argument("texts", nargs="*")
    arguments = parser.parse_args()
    predictor = Predictor(file=arguments.file)
    for text in arguments.texts or _read_lines():
        try:
            text.encode("utf-8")
            prediction = predictor.predict(text)
        except UnicodeEncodeError:
            raise SystemExit("predict: expected UTF-8; got bytes that are none; convert the text") from None
        except ValueError as error:
            raise SystemExit(f"predict: {error}") from None
        sys.stdout.write(json.dumps(prediction, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
