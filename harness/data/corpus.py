"""The corpus of one language: documents, de-duplication, and a held-out part split off by document."""

from __future__ import annotations

import hashlib
import math
import random
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from harness.data.text import read_lines
from harness.errors import HarnessError

Document: TypeAlias = list[str]

LINES_PER_DOCUMENT = 32
LONGEST_DOCUMENT = 1024
PARTS = ("train", "held_out")


@dataclass
class Statistics:
    """Counts of what ``prepare`` read, dropped and kept; the kept lines are the lines read less the dropped.

    Attributes:
        documents: documents read.
        lines: lines read.
        empty: lines dropped, as they are white space only.
        duplicates: lines dropped, as an equal line (after NFC and white-space folding) came before.
        excluded: lines dropped, as they are the text of a development or test example, or, in a language that
            is mixed in, held out of the first language.
        characters: characters kept.
        train_documents: documents kept for training; likewise the three after it.
    """

    documents: int = 0
    lines: int = 0
    empty: int = 0
    duplicates: int = 0
    excluded: int = 0
    characters: int = 0
    train_documents: int = 0
    train_lines: int = 0
    held_out_documents: int = 0
    held_out_lines: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name, as manifests keep them."""
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """A prepared corpus; no line occurs twice, hence none is in both parts."""

    train: list[Document]
    held_out: list[Document]
    statistics: Statistics


def fold(line: str) -> str:
    """Return the line in NFC with each run of white space as one space; folding again changes nothing."""
    return " ".join(unicodedata.normalize("NFC", line).split())


def leak_key(line: str) -> str:
    """Return the line in NFC without white space, so that a tokenised sentence equals its running text."""
    return "".join(unicodedata.normalize("NFC", line).split())


def group(lines: Iterable[str], *, blank_lines: bool) -> Iterator[Document]:
    """Yield documents: runs of lines up to a blank line or, without blank lines, every 32 consecutive lines.

    Args:
        lines: the lines of one file, in order.
        blank_lines: whether blank lines separate the documents of this file. If not, blank lines are passed
            on as lines, to be counted where they are dropped. A longer run than ``LONGEST_DOCUMENT`` is cut.
    """
    longest = LONGEST_DOCUMENT if blank_lines else LINES_PER_DOCUMENT
    document: Document = []
    for line in lines:
        separates = blank_lines and not line.strip()
        if document and (separates or len(document) == longest):
            yield document
            document = []
        if not separates:
            document.append(line)
    if document:
        yield document


def sample(documents: Iterable[Document], lines: int, seed: int) -> list[Document]:
    """Return whole documents of about ``lines`` lines in all, drawn by the seed, in their order.

    Invariants: at most ``lines`` lines, and at least one document; with enough lines, all documents.
    """
    everything = list(documents)
    order = random.Random(seed).sample(range(len(everything)), len(everything))
    kept: list[int] = []
    left = lines
    for index in order:
        if kept and len(everything[index]) > left:
            break
        kept.append(index)
        left -= len(everything[index])
    return [everything[index] for index in sorted(kept)]


def prepare(
    documents: Iterable[Document],
    held_out_fraction: float,
    seed: int,
    exclude: Collection[str] = (),
) -> Split:
    """Return the corpus folded, without repeated lines and without the texts of ``exclude``, in two parts.

    A document's part is a hash of the seed and its own folded text, so adding or removing other documents
    never moves it. When the hash holds out no document, the nearest one is held out.

    Args:
        documents: the documents, in order; of equal lines the first is kept.
        held_out_fraction: the share of documents to hold out, in [0, 1); 0 holds out none.
        seed: of the split.
        exclude: texts that must not be trained on; a line that equals one of them up to white space is
            dropped from both parts and counted.

    Raises:
        HarnessError: the fraction is out of range, or no line is left to train on.
    """
    if not 0 <= held_out_fraction < 1:
        raise HarnessError(f"corpus: expected a held-out fraction from 0 to below 1; got {held_out_fraction}")
    cleaner = _Cleaner(Statistics(), {leak_key(text) for text in exclude})
    kept = [(share, document) for share, document in cleaner.run(documents, seed) if document]
    limit = held_out_fraction
    if held_out_fraction and len(kept) > 1:
        limit = max(limit, math.nextafter(min(share for share, _ in kept), 1))
    split = Split(
        train=[document for share, document in kept if share >= limit],
        held_out=[document for share, document in kept if share < limit],
        statistics=cleaner.statistics,
    )
    _count_parts(split)
    return split


@dataclass
class _Cleaner:
    statistics: Statistics
    excluded_keys: set[str]
    seen: set[str] = field(default_factory=set)

    def run(self, documents: Iterable[Document], seed: int) -> Iterator[tuple[float, Document]]:
        """Yield each document's place in [0, 1) and its lines that are kept."""
        for document in documents:
            self.statistics.documents += 1
            folded = [fold(line) for line in document]
            yield _share(folded, seed), [line for line in folded if self._keep(line)]

    def _keep(self, line: str) -> bool:
        count = self.statistics
        count.lines += 1
        if not line:
            count.empty += 1
        elif line in self.seen:
            count.duplicates += 1
        elif self.excluded_keys and leak_key(line) in self.excluded_keys:
            count.excluded += 1
        else:
            self.seen.add(line)
            count.characters += len(line)
            return True
        return False


def _share(folded: Document, seed: int) -> float:
    text = "\n".join([str(seed), *folded])
    number = int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
    return (number >> 11) / (1 << 53)


def _count_parts(split: Split) -> None:
    count = split.statistics
    count.train_documents, count.held_out_documents = len(split.train), len(split.held_out)
    count.train_lines = sum(map(len, split.train))
    count.held_out_lines = sum(map(len, split.held_out))
    if not split.train:
        raise HarnessError(
            f"corpus: expected lines to train on; got {count.lines} lines of which {count.empty} empty, "
            f"{count.duplicates} repeated, {count.excluded} in a test set, {count.held_out_lines} held out; "
            "add text"
        )


def write(split: Split, folder: Path) -> None:
    """Write ``train.txt`` and ``held_out.txt``, with a blank line between documents."""
    for part in PARTS:
        documents: list[Document] = getattr(split, part)
        text = "\n".join("".join(f"{line}\n" for line in document) for document in documents)
        (folder / f"{part}.txt").write_text(text, encoding="utf-8", newline="\n")


def read(folder: Path, part: str) -> list[Document]:
    """Read one part (``train`` or ``held_out``) as it was written.

    Raises:
        HarnessError: there is no such file in the folder, or it is not UTF-8.
    """
    return list(stream(folder, part))


def stream(folder: Path, part: str) -> Iterator[Document]:
    """Yield the documents of one part, as `read` returns them, and never hold more than one."""
    path = folder / f"{part}.txt"
    if path.is_file() and path.stat().st_size == 0:
        return
    document: Document = []
    for _, line in read_lines(path):
        if line:
            document.append(line)
        else:
            yield document
            document = []
    yield document
