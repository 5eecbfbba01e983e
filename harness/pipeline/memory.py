"""The most memory this process held since a moment, where Linux tells."""

from __future__ import annotations

import re
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def reset_peak() -> bool:
    """Forgets the peak so far; gives False where that cannot be done."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def read_peak_bytes() -> int | None:
    """Gives the peak resident memory since `reset_peak`; None where it is not told."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
