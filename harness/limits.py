"""Read how much of the machine this process may use, by affinity and control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Read the limits of this process. Where the system states none, there is none.

    Attributes:
        root: the root folder; a test has its own.
    """

    root: Path = Path("/")

    def count_processors(self) -> int:
        """Count the processors that this process may run on."""
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def read_cpu_quota(self) -> float | None:
        """Return how many processors' time the control groups allow; None where they set no quota."""
        quotas = [quota for folder in self._list_groups("cpu") if (quota := _read_quota(folder)) is not None]
        return min(quotas, default=None)

    def read_free_memory(self) -> int | None:
        """Return the bytes that can be allocated before the system runs out, or the control group's limit.

        None where the system does not say.
        """
        free = [_read_keys(self.root / "proc/meminfo", 1024).get("MemAvailable:")]
        free += [_read_room(folder) for folder in self._list_groups("memory")]
        return min((one for one in free if one is not None), default=None)

    def read_memory_limit(self) -> int | None:
        """Return the least of the memory that the machine has and the control groups allow."""
        known = [_read_keys(self.root / "proc/meminfo", 1024).get("MemTotal:")]
        known += [_read_memory(folder)[0] for folder in self._list_groups("memory")]
        return min((one for one in known if one is not None), default=None)

    def count_running(self) -> float:
        """Return how many other tasks want a processor: now, or over the last minute where that is more."""
        try:
            minute, _, _, tasks, _ = (self.root / "proc/loadavg").read_text(encoding="ascii").split()
            return max(float(minute), int(tasks.partition("/")[0]) - 1.0)
        except (OSError, ValueError):
            return 0.0

    def _list_groups(self, controller: str) -> Iterator[Path]:
        """Return the folders of this process's control group and of those around it, of both versions.

        In a container whose own groups are the top, the path that the system states is not there: the top is.
        """
        try:
            lines = (self.root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for line in lines:
            number, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if number != "0" and controller not in names.split(","):
                continue
            top = self.root / "sys/fs/cgroup" / ("" if number == "0" else controller)
            below = Path(path.lstrip("/"))
            yield from (top / one for one in (below, *below.parents) if (top / one).is_dir())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _read_quota(folder: Path) -> float | None:
    """Return the processors' time that a group allows: of version 2, or of version 1."""
    words = _read_text(folder / "cpu.max").split()
    if not words:
        words = [_read_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        return int(words[0]) / int(words[1])
    return None


def _read_memory(folder: Path) -> tuple[int | None, int]:
    """Return a group's limit, None where it has none, and how much of it is in use."""
    for limit, usage in (("max", "current"), ("limit_in_bytes", "usage_in_bytes")):
        bound = _read_text(folder / f"memory.{limit}")
        if bound.isdecimal():
            used = _read_text(folder / f"memory.{usage}")
            return int(bound), int(used) if used.isdecimal() else 0
    return None, 0


def _read_room(folder: Path) -> int | None:
    """Return how much a group may grow: files that are only cached make room."""
    limit, used = _read_memory(folder)
    if limit is None:
        return None
    counts = _read_keys(folder / "memory.stat", 1)
    cached = counts.get("total_inactive_file", counts.get("inactive_file", 0))
    return max(0, limit - used + cached)


def _read_keys(path: Path, unit: int) -> Mapping[str, int]:
    """Return the numbers of a file of lines of a name and a number."""
    pairs = (line.split() for line in _read_text(path).splitlines())
    return {words[0]: unit * int(words[1]) for words in pairs if len(words) > 1 and words[1].isdecimal()}
