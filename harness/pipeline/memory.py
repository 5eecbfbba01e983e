"""Measure the peak memory of this process, where Linux reports it."""

from __future__ import annotations

import re
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def reset_peak() -> bool:
    """Reset the peak; return False where the system does not allow it."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def read_peak_bytes() -> int | None:
    """Return the peak resident memory since `reset_peak`; None where the system does not report it."""
    try:
        match = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
