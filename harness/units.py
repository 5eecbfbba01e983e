"""Print numbers in the form that people read; percent and binary units exist only in printed text."""

from __future__ import annotations

import math

from harness.errors import UsageError

_THOUSANDS = ("", "k", "M", "G")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE_S = 60
_HOUR_S = 3600


def parse_count(text: str | int | float) -> int:
    """Read a whole number written as ``1600``, ``1.6e9`` or ``1_600``.

    Raises:
        UsageError: the text is not a whole number of zero or more.
    """
    try:
        written = str(text)
        number = float(written.replace("_", "")) if written.isascii() else -1.0
    except (ValueError, OverflowError):  # also of a number of more than 4,300 digits
        written, number = "another", -1.0
    if not math.isfinite(number) or number < 0 or number != int(number):
        got = f"'{text}'" if written != "another" or isinstance(text, str) else "a number of too many digits"
        raise UsageError(f"count: expected a whole number of zero or more, as 1600 or 1.6e9; got {got}")
    return int(number)


def format_count(number: int) -> str:
    """Print a count with separators: ``177974523`` becomes ``177,974,523``."""
    return f"{number:,}"


def format_short(number: float) -> str:
    """Print a count in about three digits: ``177974523`` becomes ``178 M``."""
    for suffix in _THOUSANDS[:-1]:
        if abs(number) < 999.5:
            return f"{number:.3g} {suffix}".rstrip()
        number /= 1000
    return f"{number:.3g} {_THOUSANDS[-1]}" if abs(number) < 999.5 else f"{number:,.0f} {_THOUSANDS[-1]}"


def format_bytes(size_bytes: float) -> str:
    """Print a size in binary units: ``1536`` becomes ``1.50 KiB``."""
    for unit in _BINARY[:-1]:
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.2f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.2f} {_BINARY[-1]}"


def format_duration(seconds: float) -> str:
    """Print a duration: ``75.2`` becomes ``1 min 15 s``."""
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} min"
