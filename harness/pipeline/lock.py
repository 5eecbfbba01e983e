"""Hold one lock per stage key, so that two runs at once run each stage once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError

_POLL_S = 0.2
HOLDER = ".holder"


@contextmanager
def hold(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path` for the body; wait for its current holder, and report the holder once.

    Invariants: the kernel frees the lock when its holder dies, however it dies: no lock is ever stale.

    Args:
        path: the lock's file; it is never removed, so that all processes open the same file. The name of its
            holder is in the file of the same name with the suffix ``.holder``.
        waiting: called with ``process 123 on host`` when another process has the lock.

    Raises:
        HarnessError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, poll_interval=_POLL_S, fallback_to_soft=False, preserve_lock_file=True)
    _acquire(lock, path, waiting)
    try:
        path.with_suffix(HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, waiting: Callable[[str], None]) -> None:
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting(_read_holder(path) or "another process")
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and (error.filename is not None or isinstance(error, Timeout)):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise HarnessError(
            f"{path.parent}: expected a file system with locks, which keep two runs apart; got '{reason}'; "
            "keep the runs on a local disk, as --runs /var/tmp/runs"
        ) from error


def _read_holder(path: Path) -> str:
    with suppress(OSError):
        return path.with_suffix(HOLDER).read_text("utf-8", errors="replace")
    return ""
