"""Measure the peak memory of a block of code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.pipeline.memory import reset_peak

if sys.platform != "win32":
    import resource

_STATUS = Path("/proc/self/status")


@dataclass
class Peak:
    """The peak memory of a block, set when the block ends.

    Attributes:
        peak_bytes: largest resident memory of the process while the block ran; None where it
            is unknown (the counter could not be reset and the block did not exceed the peak before it).
        before_bytes: resident memory when the block began; None where the system does not say.
    """

    peak_bytes: int | None = None
    before_bytes: int | None = None

    @property
    def grown_bytes(self) -> int | None:
        """How much the block added to the memory before it; None where either is unknown."""
        if self.peak_bytes is None or self.before_bytes is None:
            return None
        return max(0, self.peak_bytes - self.before_bytes)


def _status_bytes(field: str) -> int | None:
    try:
        text = _STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def _high_water_bytes() -> int | None:
    known = _status_bytes("VmHWM")
    if known is not None or sys.platform == "win32":
        return known
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak resident memory of a block; the kernel's counter is reset first where possible."""
    peak = Peak(before_bytes=_status_bytes("VmRSS"))
    was_reset = reset_peak()
    before = _high_water_bytes()
    try:
        yield peak
    finally:
        after = _high_water_bytes()
        if after is not None and (was_reset or before is None or after > before):
            peak.peak_bytes = after
