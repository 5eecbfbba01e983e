"""Read the records of a web corpus: JSON lines, Parquet, or the text records of WARC files (WET)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.text import read_lines
from harness.errors import HarnessError, UsageError, first_line

Record = Mapping[str, Any]


@dataclass(frozen=True)
class SourceFile:
    """A file of a web corpus.

    Attributes:
        path: where it is.
        name: its place below the folder that was named, that folder's name first; the manifest has it.
    """

    path: Path
    name: str

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders that it is in."""
        return tuple(self.name.split("/")[:-1])

    def digest(self) -> str:
        """Return the SHA-256 of its content."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self) -> Iterator[tuple[int, Record]]:
        """Yield ``(number, record)`` from 1 on.

        Raises:
            HarnessError: the file is broken, or has no records; names the file and the record.
        """
        for ending, reader in _READERS.items():
            if ending.search(self.path.name):
                yield from reader(self.path)


def list_files(sources: Sequence[Path]) -> list[SourceFile]:
    """Return the readable files that are named or in a named folder, in the order of their names.

    Raises:
        UsageError: nothing is named, a path does not exist, or there is no readable file.
    """
    files: dict[str, SourceFile] = {}
    for source in sources:
        if not source.exists():
            raise UsageError(
                f"{source}: expected a file or folder of a web corpus; got none; correct the path"
            )
        root = source.absolute().parent
        paths = [source.absolute()] if source.is_file() else sorted(source.absolute().rglob("*"))
        for path in paths:
            name = path.relative_to(root).as_posix()
            if path.is_file() and "/." not in f"/{name}" and any(one.search(name) for one in _READERS):
                files[name] = SourceFile(path, name)
    if not files:
        named = ", ".join(map(str, sources)) or "sources"
        raise UsageError(f"{named}: expected files {ENDINGS}; got none; name others")
    return [files[name] for name in sorted(files)]


def _read_json_lines(path: Path) -> Iterator[tuple[int, Record]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as fault:
            raise HarnessError(
                f"{path}:{number}: expected a JSON object on each line; got '{fault}'; correct the file"
            ) from fault
        if not isinstance(record, dict):
            raise HarnessError(
                f"{path}:{number}: expected a JSON object on each line; got {type(record).__name__}; "
                "correct the file"
            )
        yield number, record


def _read_parquet(path: Path) -> Iterator[tuple[int, Record]]:
    import pyarrow  # noqa: PLC0415  an extra, which only this command needs
    from pyarrow import parquet  # noqa: PLC0415

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (pyarrow.ArrowException, OSError) as fault:
        raise HarnessError(
            f"{path}: expected a whole Parquet file; got broken data after row {number} "
            f"({first_line(fault)}); copy it again"
        ) from fault


def _read_wet(path: Path) -> Iterator[tuple[int, Record]]:
    from warcio.archiveiterator import ArchiveIterator  # noqa: PLC0415  an extra, too
    from warcio.exceptions import ArchiveLoadFailed  # noqa: PLC0415

    number = texts = 0
    try:
        with path.open("rb") as file:
            for number, record in enumerate(ArchiveIterator(file, no_record_parse=True), 1):
                if record.rec_type == "conversion":
                    texts += 1
                    content = record.content_stream().read().decode("utf-8")
                    yield number, {"content": content, _WET_LABEL: record.rec_headers.get_header(_WET_LABEL)}
    except (ArchiveLoadFailed, EOFError, OSError, UnicodeDecodeError) as fault:
        raise HarnessError(
            f"{path}: expected a whole WARC file of UTF-8 text; got broken data after record {number} "
            f"({' '.join(str(fault).split())}); copy it again"
        ) from fault
    if not texts:
        raise HarnessError(
            f"{path}: expected text records ('conversion', as in WET files); got {number} others; "
            "extract the text first"
        )


_ROWS = 256
_WET_LABEL = "WARC-Identified-Content-Language"
_READERS: dict[re.Pattern[str], Callable[[Path], Iterator[tuple[int, Record]]]] = {
    re.compile(r"\.(jsonl|ndjson|json)(\.gz|\.xz|\.zst)?$"): _read_json_lines,
    re.compile(r"\.parquet$"): _read_parquet,
    re.compile(r"\.(warc|wet)(\.gz)?$"): _read_wet,
}
ENDINGS = "*.jsonl[.gz|.xz|.zst], *.parquet, *.warc[.gz], *.wet[.gz]"
"""The readable files, for people."""
