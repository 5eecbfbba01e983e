"""Minimal pairs: a sentence, and the same sentence with one error, as MultiBLiMP publishes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.data.text import read_lines
from harness.errors import HarnessError

_SENTENCES = ("sen", "wrong_sen")
_PHENOMENON = "phenomenon"


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences, the first without the error; and what the error concerns, where the file says so."""

    sentence: str
    wrong: str
    phenomenon: str = ""


def read_minimal_pairs(path: Path) -> list[MinimalPair]:
    """Read a table with the columns ``sen``, ``wrong_sen`` and perhaps ``phenomenon``; others are ignored.

    Raises:
        HarnessError: a column is missing, or a line has no sentence or two equal ones; names the line.
    """
    lines = read_lines(path)
    header = next(lines)[1].split("\t")
    missing = [name for name in _SENTENCES if name not in header]
    if missing:
        raise HarnessError(
            f"{path}:1: expected the columns {' and '.join(_SENTENCES)}, separated by tabs; "
            f"got '{' '.join(header)[:60]}'; name them"
        )
    pairs = []
    for number, line in lines:
        cells = dict(zip(header, line.split("\t"), strict=False))
        sentence, wrong = (cells.get(name, "").strip() for name in _SENTENCES)
        if not sentence or not wrong or sentence == wrong:
            raise HarnessError(
                f"{path}:{number}: expected two sentences that differ; got '{sentence[:40]}' and "
                f"'{wrong[:40]}'; correct or remove the line"
            )
        pairs.append(MinimalPair(sentence, wrong, cells.get(_PHENOMENON, "").strip()))
    if not pairs:
        raise HarnessError(f"{path}: expected at least one pair below the header; got none; add some")
    return pairs
