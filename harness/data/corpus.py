"""The corpus of one language: documents, de-duplication, and a held-out part split off by document."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import tempfile
import unicodedata
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from harness.data.repeated_lines import LineIndex
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
    return list(sample_stream(lambda: everything, lines, seed))


def sample_stream(
    read_documents: Callable[[], Iterable[Document]], lines: int, seed: int
) -> Iterator[Document]:
    """Yield the documents that `sample` returns, and hold no more than one; they are read twice.

    Args:
        read_documents: returns the documents, each time from the first.
        lines: as in `sample`.
        seed: likewise.
    """
    lengths = array("I", map(len, read_documents()))
    kept = bytearray(len(lengths))
    left = lines
    for drawn, index in enumerate(random.Random(seed).sample(range(len(lengths)), len(lengths))):
        if drawn and lengths[index] > left:
            break
        kept[index] = True
        left -= lengths[index]
    return itertools.compress(read_documents(), kept)


def prepare(
    documents: Iterable[Document],
    held_out_fraction: float,
    seed: int,
    exclude: Collection[str] = (),
) -> Split:
    """Return the corpus of `prepare_on_disk` in memory.

    Raises:
        HarnessError: as `prepare_on_disk`.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_on_disk(documents, held_out_fraction, seed, exclude, Path(folder))
        train, held_out = (list(prepared.stream(part)) for part in PARTS)
        return Split(train, held_out, prepared.statistics)


def prepare_on_disk(
    documents: Iterable[Document],
    held_out_fraction: float,
    seed: int,
    exclude: Collection[str],
    folder: Path,
) -> PreparedCorpus:
    """Return the corpus folded, without repeated lines and without the texts of ``exclude``, in two parts.

    A document's part is a hash of the seed and its own folded text, so adding or removing other documents
    never moves it. When the hash holds out no document, the nearest one is held out. Memory does not grow
    with the text.

    Args:
        documents: the documents, in order; of equal lines the first is kept.
        held_out_fraction: the share of documents to hold out, in [0, 1); 0 holds out none.
        seed: of the split.
        exclude: texts that must not be trained on; a line that equals one of them up to white space is
            dropped from both parts and counted.
        folder: empty, for the text while it is prepared and read.

    Raises:
        HarnessError: the fraction is out of range, or no line is left to train on.
    """
    if not 0 <= held_out_fraction < 1:
        raise HarnessError(f"corpus: expected a held-out fraction from 0 to below 1; got {held_out_fraction}")
    excluded_keys = {leak_key(text) for text in exclude}
    count, index = Statistics(), LineIndex(folder)
    folded_text = folder / "folded.txt"
    with folded_text.open("w", encoding="utf-8", newline="\n") as file:
        for document in documents:
            folded = [fold(line) for line in document]
            left = [line for line in folded if line]
            count.empty += len(folded) - len(left)
            if excluded_keys:
                num_filled = len(left)
                left = [line for line in left if leak_key(line) not in excluded_keys]
                count.excluded += num_filled - len(left)
            count.documents += 1
            count.lines += len(folded)
            for line in left:
                index.add(line)
            file.write(f"{len(left)} {_share(folded, seed)!r}\n" + "".join(f"{line}\n" for line in left))
    prepared = PreparedCorpus(folded_text, index.find_repeated(), held_out_fraction, count)
    prepared.count_parts()
    return prepared


@dataclass
class PreparedCorpus:
    """A prepared corpus on the disk; no line occurs twice, hence none is in both parts.

    Attributes:
        path: of its folded documents, each after a line with its number of lines and its place in [0, 1).
        repeated: for each of their lines, whether an earlier line is equal.
        limit: documents at places below it are held out.
        statistics: what was read, dropped and kept.
    """

    path: Path
    repeated: npt.NDArray[np.bool_]
    limit: float
    statistics: Statistics

    def stream(self, part: str) -> Iterator[Document]:
        """Yield the documents of a part (``train`` or ``held_out``), and hold no more than one."""
        for share, document in self._read_kept():
            if (share < self.limit) == (part == "held_out"):
                yield document

    def count_parts(self) -> None:
        """Count what is kept; if a document must be held out and none is, hold out the nearest."""
        count = self.statistics
        shares_min, count.characters = 1.0, 0
        for name in ("train_documents", "train_lines", "held_out_documents", "held_out_lines"):
            setattr(count, name, 0)
        for share, document in self._read_kept():
            shares_min = min(shares_min, share)
            count.characters += sum(map(len, document))
            if share < self.limit:
                count.held_out_documents += 1
                count.held_out_lines += len(document)
            else:
                count.train_documents += 1
                count.train_lines += len(document)
        count.duplicates = int(np.count_nonzero(self.repeated))
        if self.limit and not count.held_out_documents and count.train_documents > 1:
            self.limit = math.nextafter(shares_min, 1)
            self.count_parts()
        elif not count.train_documents:
            raise HarnessError(
                f"corpus: expected lines to train on; got {count.lines} lines of which {count.empty} empty, "
                f"{count.duplicates} repeated, {count.excluded} in a test set, {count.held_out_lines} held "
                "out; add text"
            )

    def _read_kept(self) -> Iterator[tuple[float, Document]]:
        """Yield each document's place and its lines, without repeated lines and without empty documents."""
        place = 0
        with self.path.open(encoding="utf-8", newline="\n") as file:
            for header in file:
                num_lines, share = header.split()
                flags = self.repeated[place : place + int(num_lines)].tolist()
                place += len(flags)
                lines = [file.readline().removesuffix("\n") for _ in flags]
                kept = [line for line, repeats in zip(lines, flags, strict=True) if not repeats]
                if kept:
                    yield float(share), kept


def _share(folded: Document, seed: int) -> float:
    text = "\n".join([str(seed), *folded])
    number = int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
    return (number >> 11) / (1 << 53)


def write(split: Split, folder: Path) -> None:
    """Write ``train.txt`` and ``held_out.txt``, with a blank line between documents."""
    for part in PARTS:
        write_part(folder, part, getattr(split, part))


def write_part(folder: Path, part: str, documents: Iterable[Document]) -> None:
    """Write one part, with a blank line between documents."""
    with (folder / f"{part}.txt").open("w", encoding="utf-8", newline="\n") as file:
        for number, document in enumerate(documents):
            file.write("\n" * bool(number) + "".join(f"{line}\n" for line in document))


def read(folder: Path, part: str) -> list[Document]:
    """Read one part (``train`` or ``held_out``) as it was written.

    Raises:
        HarnessError: there is no such file in the folder, or it is not UTF-8.
    """
    return list(stream(folder, part))


@dataclass(frozen=True)
class StoredPart(Iterable[Document]):
    """The documents of one part, read again each time that they are iterated over.

    Attributes:
        folder: of the prepared corpus.
        part: ``train`` or ``held_out``.
    """

    folder: Path
    part: str

    def __iter__(self) -> Iterator[Document]:
        return stream(self.folder, self.part)


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
