"""Text to calibrate static quantisation with, as encoded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.data.sources import DataSource, open_corpus
from harness.errors import HarnessError

CALIBRATION_LINES = 64
_BATCH_SIZE = 8


def read_calibration_lines(source: DataSource, language: str) -> list[str]:
    """Read the first lines of a language's text.

    Raises:
        UsageError: no such language.
        HarnessError: the corpus cannot be read.
    """
    lines: list[str] = []
    for document in open_corpus(source, language, lines=20 * CALIBRATION_LINES).documents:
        lines += document
        if len(lines) >= CALIBRATION_LINES:
            break
    return lines


def encode_calibration(
    lines: Sequence[str], tokenizer: Any, *, length: int, inputs: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the first lines as encoded batches.

    Args:
        lines: of text; empty lines are skipped.
        tokenizer: of the model.
        length: tokens of a line at most.
        inputs: names of the graph's inputs.

    Raises:
        HarnessError: there is no line of text.
    """
    chosen = [line for line in lines if line.strip()][:CALIBRATION_LINES]
    if not chosen:
        raise HarnessError("calibration: expected lines of text; got none; add some to the corpus")
    batches = [
        tokenizer(
            chosen[start : start + _BATCH_SIZE],
            padding=True, truncation=True, max_length=length, return_tensors="np",
        )
        for start in range(0, len(chosen), _BATCH_SIZE)
    ]  # fmt: skip
    return [{name: batch[name].astype("int64") for name in inputs} for batch in batches]
