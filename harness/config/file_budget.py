"""The budget of `harness plan --budget`: the most bytes and milliseconds of an exported student."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.config.export_size import FILE_BYTES
from harness.config.values import quote_value
from harness.errors import UsageError
from harness.precisions import find_precision

_BYTES: Mapping[str, float] = MappingProxyType(
    {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
)
_MILLISECONDS: Mapping[str, float] = MappingProxyType({"us": 1e-3, "ms": 1.0, "s": 1e3})
_LIMIT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)(?:\s+(\S+))?", re.IGNORECASE)


@dataclass(frozen=True)
class FileBudget:
    """The limits of a student's file.

    Attributes:
        precision: of the file.
        size_bytes: at most; None: any.
        latency_ms: the median at most; None: any.
    """

    precision: str
    size_bytes: float | None = None
    latency_ms: float | None = None

    def __str__(self) -> str:
        size = [] if self.size_bytes is None else [f"{self.size_bytes / 1e6:g} MB"]
        latency = [] if self.latency_ms is None else [f"{self.latency_ms:g} ms"]
        return f"{' and '.join([*size, *latency])} in {self.precision}"


def parse_file_budget(text: str, precision: str = "int8") -> FileBudget:
    """Read a budget written as ``4 MB int8, 5 ms``: a size, a median latency, or both, in any order.

    Args:
        text: to read.
        precision: where the text names none.

    Raises:
        UsageError: the text is another, or names a precision that is not exported.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        read = _LIMIT.fullmatch(part.strip())
        number, unit, named = read.groups() if read else ("0", "", None)
        kind, units = ("size", _BYTES) if unit.lower() in _BYTES else ("latency", _MILLISECONDS)
        limit = float(number) * units.get(unit.lower(), 0)
        if not limit or kind in limits:
            raise UsageError(
                '--budget: expected a size, a latency or both, as "4 MB int8, 5 ms"; '
                f"got {quote_value(text)}; correct it"
            )
        limits[kind] = limit
        precision = find_precision(named.lower(), FILE_BYTES).name if named else precision
    return FileBudget(precision, limits.get("size"), limits.get("latency"))
