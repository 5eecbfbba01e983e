"""How many worker processes run the stages of a run, and what each of them may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.cli.device import list_gpus
from harness.cli.threads import count_allowed, read_given_first, select_threads
from harness.errors import UsageError
from harness.limits import Limits

AUTO = "auto"
_MOST_THREADS = 4
"""With `AUTO`, the most threads of a worker."""


@dataclass(frozen=True)
class WorkerChoice:
    """The worker processes of a command.

    Attributes:
        number: of processes; with one, the command runs all stages itself.
        is_bounded: whether the number may be lowered where the memory holds fewer.
        gpus: that the workers take turns with, each as ``CUDA_VISIBLE_DEVICES`` names it.
    """

    number: int
    is_bounded: bool = False
    gpus: tuple[str, ...] = ()

    def fit_memory(self, needed_bytes: int, limits: Limits | None = None) -> int:
        """Return the number of workers, each of which needs some memory."""
        free = (limits or Limits()).read_free_memory()
        if not self.is_bounded or free is None or self.gpus:
            return self.number
        return max(1, min(self.number, free // max(1, needed_bytes)))


def select_workers(asked: str, threads: int | None, warn: Callable[[str], None]) -> WorkerChoice:
    """Choose the worker processes, and set the threads that each of them computes with.

    Args:
        asked: a number, or `AUTO`: one for each GPU, or as many as the processors allow.
        threads: of a worker; None: its share of the processors.
        warn: called with a line where there are more threads than processors.

    Raises:
        UsageError: neither a number of at least one, nor `AUTO`.
    """
    if asked != AUTO and not (asked.isdecimal() and int(asked)):
        raise UsageError(
            f"--workers: expected a number of at least 1, or {AUTO}; got '{asked}'; use 1 or more"
        )
    gpus = () if asked == "1" else list_gpus()
    if asked == AUTO:
        processors = count_allowed()
        threads = threads or read_given_first() or max(1, min(_MOST_THREADS, processors // 2))
        choice = WorkerChoice(len(gpus) or max(1, processors // threads), is_bounded=True, gpus=gpus)
    else:
        choice = WorkerChoice(int(asked), gpus=gpus)
    select_threads(threads, warn, choice.number)
    return choice
