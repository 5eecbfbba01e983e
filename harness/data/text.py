"""Lines of text files, plain or compressed: the one place that decodes bytes."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.errors import HarnessError

_BOM = "\ufeff"
_READ_BYTES = 1 << 20
_ZSTD_READ_BYTES = 1 << 10
"""So few, since each may become thousands of bytes at once."""
LONGEST_LINE_BYTES = 1 << 24
LONGEST_VARIABLE = "HARNESS_LONGEST_LINE"
"""The environment variable that replaces the longest line, in bytes."""
LARGEST_RATIO = 200
"""The most bytes of text for each byte of a compressed file; prose has about 3, lists of names 30."""
_SMALL_BYTES = 1 << 26
"""A compressed file may hold this much text, whatever its own size."""


class _ZstdFile(io.RawIOBase):
    """A zstd file as a raw stream; unlike the library's reader it refuses a truncated frame."""

    def __init__(self, path: Path) -> None:
        import zstandard  # noqa: PLC0415  the core does not need it

        self._library = zstandard
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        """Fill the buffer with decompressed bytes; 0 at the end of the last whole frame."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._ready and self._advance():
            pass
        part, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(part)] = part
        return len(part)

    def _advance(self) -> bool:
        """Decompress one more piece; False when nothing is left."""
        rest: bytes = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame, self._started = self._library.ZstdDecompressor().decompressobj(), False
        packed = rest or self._file.read(_ZSTD_READ_BYTES)
        if not packed:
            if self._started:
                raise EOFError("the last frame is cut off")
            return False
        self._started = True
        try:
            self._ready = memoryview(self._frame.decompress(packed))
        except self._library.ZstdError as error:
            raise EOFError(str(error)) from error
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_zstd(path: Path) -> IO[bytes]:
    return io.BufferedReader(_ZstdFile(path), _READ_BYTES)


def _open_gzip(path: Path) -> IO[bytes]:
    return io.BufferedReader(gzip.GzipFile(path), _READ_BYTES)


def _open_xz(path: Path) -> IO[bytes]:
    return io.BufferedReader(lzma.LZMAFile(path), _READ_BYTES)


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


COMPRESSIONS: dict[str, Callable[[Path], IO[bytes]]] = {
    "": _open_plain,
    ".gz": _open_gzip,
    ".xz": _open_xz,
    ".zst": _open_zstd,
}
_BROKEN = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield ``(number, line)`` from 1 on, without line ends.

    Only ``\n`` and ``\r\n`` end a line (never U+2028 or a form feed, as ``str.splitlines`` would); a
    byte-order mark at the start is dropped.

    Raises:
        HarnessError: the file is missing, empty, not UTF-8 (names the line), holds a NUL or a line that is
            too long, or its compression is broken or holds too much.
    """
    number = 0
    opener = COMPRESSIONS.get(path.suffix, _open_plain)
    try:
        with opener(path) as file:
            for number, raw in enumerate(_read_bounded(file, path), start=1):
                yield number, _decode(raw, path, number)
    except _BROKEN as fault:
        raise HarnessError(
            f"{path}: expected a whole {path.suffix[1:]} file; got broken data after line {number} "
            f"({fault}); copy it again"
        ) from fault
    except OSError as fault:
        raise HarnessError(f"{path}: expected a file to read; got '{fault.strerror or fault}'") from fault
    if number == 0:
        raise HarnessError(f"{path}: expected lines of text; got an empty file; fill it or remove it")


def _read_bounded(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the lines of an open file; refuse what would fill the memory or never end.

    Raises:
        HarnessError: a line is too long, or a compressed file holds far more than text compresses to.
    """
    longest = _read_longest()
    packed = path.suffix in COMPRESSIONS
    most = max(_SMALL_BYTES, LARGEST_RATIO * path.stat().st_size) if packed else math.inf
    total = number = 0
    while line := file.readline(longest + 1):
        number, total = number + 1, total + len(line)
        if len(line) > longest:
            raise HarnessError(
                f"{path}:{number}: expected lines of at most {longest:,} bytes; got a longer one; split it, "
                f"or set {LONGEST_VARIABLE} to more"
            )
        if total > most:
            raise HarnessError(
                f"{path}:{number}: expected at most {LARGEST_RATIO} times the bytes of the compressed file; "
                "got more; if that is right, unpack it: a plain file has no such bound"
            )
        yield line


def _read_longest() -> int:
    given = os.environ.get(LONGEST_VARIABLE, "")
    if not re.fullmatch(r"\d{0,12}", given, re.ASCII):
        raise HarnessError(f"{LONGEST_VARIABLE}: expected a number of bytes; got '{given}'; correct it")
    return int(given or LONGEST_LINE_BYTES)


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text: only ``\n``, with or without ``\r`` before it, ends a line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as fault:
        raise HarnessError(
            f"{path}:{number}: expected UTF-8; got byte 0x{raw[fault.start]:02x} at column "
            f"{fault.start + 1}; convert the file to UTF-8"
        ) from fault
    if "\0" in line:
        raise HarnessError(f"{path}:{number}: expected text; got a NUL character; is this a binary file?")
    return line.removeprefix(_BOM) if number == 1 else line
