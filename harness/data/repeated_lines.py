"""Find the lines of a text that repeat an earlier line, in memory that does not grow with the text."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FINGERPRINT = np.dtype([("high", "<u8"), ("low", "<u8")])
_NUMBERED = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<u8")])
_FILES = 256
SPILLED_LINES = 1 << 20
"""So many fingerprints are held at once, 16 bytes each; more are divided among files by their first byte."""


class LineIndex:
    """Fingerprints of lines in order. Two lines count as equal if 128 bits of their BLAKE2b are."""

    def __init__(self, folder: Path) -> None:
        """Begin an index.

        Args:
            folder: where files are kept if there are many lines; it exists.
        """
        self._folder = folder
        self._pending = bytearray()
        self._num_spilled = 0

    def add(self, line: str) -> None:
        """Add the next line."""
        self._pending += hashlib.blake2b(line.encode("utf-8"), digest_size=16).digest()
        if len(self._pending) >= SPILLED_LINES * _FINGERPRINT.itemsize:
            self._spill()

    def find_repeated(self) -> npt.NDArray[np.bool_]:
        """Return for each line whether it repeats an earlier one; of many lines, as an array on the disk."""
        if not self._num_spilled:
            rows = self._take_pending()
            repeated = np.zeros(len(rows), bool)
            repeated[_find_repeated(rows)] = True
            return repeated
        self._spill()
        flags = np.memmap(self._folder / "repeated", bool, "w+", shape=(self._num_spilled,))
        for number in range(_FILES):
            path = self._name_file(number)
            if path.is_file():
                flags[_find_repeated(np.fromfile(path, _NUMBERED))] = True
                path.unlink()
        return flags

    def _take_pending(self) -> npt.NDArray[np.void]:
        given = np.frombuffer(bytes(self._pending), _FINGERPRINT)
        self._pending.clear()
        rows = np.empty(len(given), _NUMBERED)
        rows["high"], rows["low"] = given["high"], given["low"]
        rows["number"] = np.arange(self._num_spilled, self._num_spilled + len(given))
        return rows

    def _spill(self) -> None:
        rows = self._take_pending()
        self._num_spilled += len(rows)
        places = rows["high"] % _FILES
        for number in np.unique(places).tolist():
            with self._name_file(number).open("ab") as file:
                rows[places == number].tofile(file)

    def _name_file(self, number: int) -> Path:
        return self._folder / f"fingerprints-{number}"


def _find_repeated(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """Return the numbers of the rows whose fingerprint an earlier row has."""
    rows = rows[np.lexsort((rows["number"], rows["low"], rows["high"]))]
    equal = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
    return rows["number"][1:][equal]  # type: ignore[no-any-return]
