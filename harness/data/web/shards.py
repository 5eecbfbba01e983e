"""Write documents as the text files of a data folder: compressed, counted, and equal for equal documents."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import zstandard

from harness.data.corpus import fold
from harness.data.text import LONGEST_LINE_BYTES, split_lines

_LEVEL = 9
_UNFIT = re.compile("[\ud800-\udfff\0]")
"""Halves of characters and NUL, which JSON can hold and a text file cannot."""
PARTIAL = ".part"
"""The ending of a file that is being written."""


def split_document(text: str) -> list[str]:
    """Return the lines of a document as the stage ``corpus`` folds them, without what it cannot read."""
    lines = map(fold, split_lines(_UNFIT.sub(" ", text)))
    return [line for line in lines if line and len(line.encode()) < LONGEST_LINE_BYTES]


@dataclass
class Shard:
    """A finished file of text.

    Attributes:
        name: of the file.
        documents: number of documents.
        lines: number of lines, without those between documents.
        characters: of the lines.
        bytes: size of the file.
        sha256: of its content.
    """

    name: str
    documents: int = 0
    lines: int = 0
    characters: int = 0
    bytes: int = 0
    sha256: str = ""

    def as_dict(self) -> dict[str, int | str]:
        """Return the values by name, as manifests keep them."""
        return asdict(self)


class ShardWriter:
    """A file that documents are written to; it has its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self.shard = Shard(path.name)
        self._path, self._part = path, path.with_name(path.name + PARTIAL)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._digest = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()

    def write(self, lines: Sequence[str]) -> None:
        """Write a document of at least one line."""
        separator = "\n" if self.shard.documents else ""
        text = separator + "".join(f"{line}\n" for line in lines)
        self._add(self._compressor.compress(text.encode()))
        self.shard.documents += 1
        self.shard.lines += len(lines)
        self.shard.characters += sum(map(len, lines))

    def _add(self, packed: bytes) -> None:
        self._file.write(packed)
        self._digest.update(packed)
        self.shard.bytes += len(packed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._add(self._compressor.flush())
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if error is None:
            self.shard.sha256 = self._digest.hexdigest()
            self._part.replace(self._path)
