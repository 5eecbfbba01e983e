"""The memory pool: torch's large blocks on a CPU come from a region of their own while a model is trained.

glibc's heap grows over a training whose batches have many lengths; csrc/memory/region.h says why. Without the
compiled pool, or with ``HARNESS_POOL=0``, torch's own allocator serves a training.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from harness.errors import unknown
from harness.limits import Limits

_CHOICES = ("0", "1")
_RESERVED = 2**40
"""Addresses for the region; the system has memory only for the pages that are written."""
_MARGIN = 0.1
"""Share of the free memory that the pool leaves to everything else."""


class _Pool:
    """The library's functions.

    Args:
        path: of the library.

    Raises:
        OSError: the library does not load.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.torch_version = library.harness_pool_torch_version
        self.torch_version.restype = ctypes.c_char_p
        self.reserve = library.harness_pool_reserve
        self.reserve.argtypes, self.reserve.restype = [ctypes.c_uint64], ctypes.c_bool
        self.use = library.harness_pool_use
        self.use.argtypes, self.use.restype = [ctypes.c_bool], None
        self.set_room = library.harness_pool_set_room
        self.set_room.argtypes, self.set_room.restype = [ctypes.c_int64], None
        self.release = library.harness_pool_release
        self.release.restype = None
        self.peak_bytes = library.harness_pool_peak_bytes
        self.peak_bytes.restype = ctypes.c_uint64


@cache
def _open() -> tuple[_Pool | None, str]:
    """Return the pool, or why there is none."""
    choice = os.environ.get("HARNESS_POOL", "1")
    if choice not in _CHOICES:
        raise unknown("value of HARNESS_POOL", choice, _CHOICES)
    if choice == "0":
        return None, "HARNESS_POOL=0"
    if _addresses_are_limited():
        return None, "the addresses of this process are limited (ulimit -v)"
    return _load(next(iter(sorted(Path(__file__).parent.glob("_kernels_memory.*so"))), None))


def _load(path: Path | None) -> tuple[_Pool | None, str]:
    if path is None:
        return None, "the pool is not compiled"
    try:
        pool = _Pool(path)
    except OSError as error:
        return None, f"{path.name} does not load: {str(error).splitlines()[0]}"
    compiled = pool.torch_version().decode()
    if compiled != torch.__version__.partition("+")[0]:
        return None, f"the pool is compiled for torch {compiled}, and {torch.__version__} runs"
    if not pool.reserve(_RESERVED):
        return None, "the system refuses the addresses"
    return pool, "large blocks of a training come from a pool"


def _addresses_are_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource  # noqa: PLC0415  absent on Windows

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def explain_pool() -> tuple[bool, str]:
    """Return whether trainings use the pool, and why in one line, for ``harness doctor``."""
    pool, reason = _open()
    return pool is not None, reason


@contextmanager
def memory_pool() -> Iterator[None]:
    """Take torch's large blocks on the CPU from the pool for a while, then give unused memory back.

    Invariants: numbers do not depend on it; a tensor made meanwhile may live on.
    """
    pool, _ = _open()
    if pool is None:
        yield
        return
    pool.use(True)
    try:
        yield
    finally:
        pool.use(False)
        pool.release()


@contextmanager
def refuse_overfull_memory() -> Iterator[None]:
    """Raise `torch.OutOfMemoryError` for a while where the pool would outgrow the free memory.

    Without it, the system ends the whole process.
    """
    pool, _ = _open()
    free = Limits().read_free_memory() if pool is not None else None
    if pool is None or free is None:
        yield
        return
    pool.set_room(round((1 - _MARGIN) * free))
    try:
        yield
    finally:
        pool.set_room(-1)


def read_pool_peak() -> int:
    """Return the most bytes of the pool that were in use at once; 0 where it was never used."""
    pool, _ = _open()
    return 0 if pool is None else int(pool.peak_bytes())
