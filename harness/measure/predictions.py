"""Predictions kept per item, so that every score and test can be computed again without training.

A file is gzipped JSON: the signature, the metrics, the gold labels, and the predictions of each seed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.measure.scores import Item

FILE = "predictions.json.gz"


@dataclass(frozen=True)
class Predictions:
    """The predictions of one model on one test part.

    Attributes:
        task: its name.
        metrics: of the task, the main one first.
        gold: the gold labels: a label an item, or a label a word.
        by_seed: the predicted labels of each seed.
        signature: of the scores.
    """

    task: str
    metrics: tuple[str, ...]
    gold: Sequence[Item]
    by_seed: Mapping[int, Sequence[Item]]
    signature: str

    @property
    def seeds(self) -> list[Sequence[Item]]:
        """The predictions of each seed."""
        return list(self.by_seed.values())


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write predictions; equal predictions are equal bytes, since the header has no name and no time."""
    value = {
        "signature": predictions.signature,
        "task": predictions.task,
        "metrics": list(predictions.metrics),
        "gold": predictions.gold,
        "predictions": {str(seed): labels for seed, labels in predictions.by_seed.items()},
    }
    path.write_bytes(gzip.compress(json.dumps(value, ensure_ascii=False).encode(), mtime=0))


def read_predictions(path: Path) -> Predictions:
    """Read predictions.

    Raises:
        HarnessError: the file is missing, or :func:`write_predictions` did not write it.
    """
    try:
        value = json.loads(gzip.decompress(path.read_bytes()))
        by_seed = {int(seed): labels for seed, labels in value["predictions"].items()}
        return Predictions(value["task"], tuple(value["metrics"]), value["gold"], by_seed, value["signature"])
    except OSError as error:
        reason = error.strerror or "no gzip"
        raise HarnessError(
            f"predictions: expected a {FILE} at '{path}'; got {reason}; score the model first"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise HarnessError(
            f"predictions: expected a whole {FILE} at '{path}'; got {type(error).__name__}; "
            "score the model again"
        ) from error
