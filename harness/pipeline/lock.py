"""Hold one lock per stage key, so that two runs at once run each stage once."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.2


@contextmanager
def hold(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path` for the body; wait for its current holder, and report the holder once.

    Invariants: the kernel frees the lock when its holder dies, however it dies: no lock is ever stale.

    Args:
        path: the lock's file; it is never removed, so that all processes open the same file.
        waiting: called with ``process 123 on host`` when another process has the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _acquire(path, file.fileno(), waiting)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _acquire(path: Path, descriptor: int, waiting: Callable[[str], None]) -> None:
    reported = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not reported:
                waiting(path.read_text(encoding="utf-8") or "another process")
                reported = True
            time.sleep(_POLL_S)
        else:
            return
