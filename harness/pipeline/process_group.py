"""The processes that make a run together; an ordinary run is a group of one, which communicates with nobody.

Every process runs the same code on the same inputs. They differ in two things: which rows of a batch go
through the model, and that the main process alone writes, prints and runs what is not a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from harness.config.digest import digest
from harness.errors import HarnessError

T = TypeVar("T")


class LostProcessError(HarnessError):
    """Another process of the group has ended."""

    exit_code = 75
    """``EX_TEMPFAIL`` of sysexits.h: the same command resumes."""


class AgreedError(HarnessError):
    """An error that every process of the group raises, so that the main process alone need print it."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code


class ProcessGroup:
    """A group of one process; the base of groups of several (`harness.train.distributed`).

    Invariants: all processes call the methods in the same order.

    Attributes:
        rank: of this process, from 0, the main process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, make: Callable[[], T]) -> T:
        """Call a function in the main process alone, and return its result in every process.

        No process goes on before the function has returned.
        """
        return make()

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks."""
        return [value]

    def sum(self, tensors: Iterable[Any]) -> None:
        """Replace each tensor by its sum over the processes, equal to the last bit in all of them."""

    def copy_from_main(self, tensors: Iterable[Any]) -> None:
        """Replace each tensor by that of the main process."""


ALONE = ProcessGroup()
"""The group of an ordinary run."""


@contextmanager
def fail_together(group: ProcessGroup) -> Iterator[None]:
    """Raise in every process the error that a user can fix which the body raises in any of them.

    Raises:
        AgreedError: there is one.
    """
    own: HarnessError | None = None
    try:
        yield
    except HarnessError as error:
        if group.size == 1:
            raise
        own = error
    for rank, (line, code) in enumerate(group.gather(("", 0) if own is None else (str(own), own.exit_code))):
        if line:
            raise AgreedError(line if rank == 0 else f"process {rank}: {line}", code) from own


def refuse_other_plans(group: ProcessGroup, keys: Mapping[str, str]) -> None:
    """Refuse to run in processes that do not have the same plan.

    Args:
        group: the processes.
        keys: of the stages of this process's plan.

    Raises:
        AgreedError: they do not.
    """
    plans = group.gather(digest(dict(keys)))
    other = next((rank for rank, plan in enumerate(plans) if plan != plans[0]), None)
    if other is not None:
        raise AgreedError(
            f"processes: expected the plan of process 0 in all {group.size}; got another in process {other}; "
            "start all with the same command, data and version",
            2,
        )
