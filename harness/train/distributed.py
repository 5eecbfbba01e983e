"""Several processes that train one model, through `torch.distributed`: gloo on CPUs, NCCL between GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from harness.pipeline.process_group import ALONE, AgreedError, LostProcessError, ProcessGroup

T = TypeVar("T")

_LONGEST_STAGE = timedelta(days=30)
"""How long the other processes wait for a stage that the main process runs alone."""
_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK")
"""Variables of torchrun. Libraries that find them share the work out in their own way."""


class TorchProcessGroup(ProcessGroup):
    """The processes that torchrun started, connected.

    Tensors on a GPU go through NCCL, all else through gloo, which notices at once that a process has ended.
    """

    def __init__(self) -> None:
        dist.init_process_group("gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._cpu = dist.new_group(backend="gloo", timeout=_LONGEST_STAGE)
        gpus = sum(self.gather(torch.cuda.is_available()))
        if gpus not in (0, self.size):
            raise AgreedError(
                f"processes: expected a GPU for each of {self.size}; got {gpus} with a GPU; start {gpus}, or "
                "use --device cpu",
                2,
            )
        self._gpu = dist.new_group(backend="nccl") if gpus else None

    def share(self, make: Callable[[], T]) -> T:
        """Call a function in the main process alone, and return its result in every process."""
        shared = [make() if self.rank == 0 else None]
        with _explain_lost(self.size):
            dist.broadcast_object_list(shared, src=0, group=self._cpu)
        value: T = shared[0]  # type: ignore[assignment]
        return value

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks."""
        values = [value] * self.size
        with _explain_lost(self.size):
            dist.all_gather_object(values, value, group=self._cpu)
        return values

    @torch.no_grad()
    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, equal to the last bit in all of them."""
        with _explain_lost(self.size):
            started = [dist.all_reduce(one, group=self._choose(one), async_op=True) for one in tensors]
            for work in started:
                work.wait()

    @torch.no_grad()
    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of the main process."""
        with _explain_lost(self.size):
            for one in tensors:
                dist.broadcast(one, src=0, group=self._choose(one))

    def _choose(self, tensor: Tensor) -> dist.ProcessGroup | None:
        return self._gpu if tensor.is_cuda else self._cpu


@contextmanager
def _explain_lost(size: int) -> Iterator[None]:
    """Turn torch's error of a closed connection into one line."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"processes: expected {size} that go on; got a lost connection, since one has ended; run the "
            "same command again to resume"
        ) from error


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Connect this process with the others that torchrun started; a process that it did not start is alone.

    The libraries of the trainer do not see torchrun's variables afterwards: each process trains as if alone,
    but for the rows of a batch that it takes and the gradients that it shares.
    """
    group = TorchProcessGroup() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ALONE
    for name in _LAUNCHER:
        os.environ.pop(name, None)
    try:
        yield group
    except AgreedError:  # raised in every process, so that each can end its connections
        _disconnect(group)
        raise
    _disconnect(group)


def _disconnect(group: ProcessGroup) -> None:
    if group is not ALONE:
        dist.destroy_process_group()
