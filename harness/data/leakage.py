"""Find the texts of dev and test parts in running text, so that no model is trained on them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from harness.data.corpus import leak_key
from harness.data.folder import read_part_texts
from harness.tasks import TASKS

SHORTEST_WITHIN = 16
"""Characters, white space not counted, from which on a text is sought within a line and over several."""
SCORED_PARTS = ("dev", "test")


def read_scored_texts(root: Path) -> set[str]:
    """Return the texts of all dev and test parts of a data folder, of every task and language.

    Raises:
        HarnessError: a part cannot be read; names the file and the line.
    """
    texts: set[str] = set()
    for name, task in TASKS.items():
        for part in SCORED_PARTS:
            for path in sorted((root / name).glob(f"*/{part}{task.format.ending}")):
                texts |= read_part_texts(root, name, path.parent.name, part)
    return texts


class ScoredTexts:
    """Texts that no training corpus may contain, in a form in which they are found fast.

    Invariants: white space, and how it is divided into lines, makes no difference. A text shorter than
    `SHORTEST_WITHIN` is found only as a whole line, since short texts occur everywhere.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        keys = {leak_key(text) for text in texts} - {""}
        self._keys = keys
        self._by_head: defaultdict[str, list[str]] = defaultdict(list)
        for key in sorted(keys):
            if len(key) >= SHORTEST_WITHIN:
                self._by_head[key[:SHORTEST_WITHIN]].append(key)

    def drop(self, lines: Sequence[str]) -> list[str]:
        """Return the lines of a document without those that contain, or are part of, one of the texts."""
        if not self._keys:
            return list(lines)
        keys = [leak_key(line) for line in lines]
        dropped = {number for number, key in enumerate(keys) if key in self._keys}
        starts = [0, *accumulate(map(len, keys))]
        for first, last in self._find("".join(keys)):
            dropped.update(range(bisect_right(starts, first) - 1, bisect_right(starts, last)))
        return [line for number, line in enumerate(lines) if number not in dropped]

    def _find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the first and the last character of each place of a text."""
        by_head = self._by_head
        if not by_head:
            return
        for start in range(len(text) - SHORTEST_WITHIN + 1):
            if (head := text[start : start + SHORTEST_WITHIN]) in by_head:
                for key in by_head[head]:
                    if text.startswith(key, start):
                        yield start, start + len(key) - 1
