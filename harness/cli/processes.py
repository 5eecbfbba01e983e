"""Start the processes that train together, connect them, and let the main process alone speak."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import err, hint, out
from harness.cli.device import select_device
from harness.cli.threads import select_threads
from harness.cli.worker_choice import WorkerChoice, select_workers
from harness.errors import HarnessError, UsageError
from harness.pipeline.process_group import ALONE, AgreedError, LostProcessError, ProcessGroup

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

Processes = Annotated[
    int | None,
    typer.Option(
        "--processes", min=1, help="processes that train together, on a GPU each where there are any"
    ),
]
_RUN_ID = "harness"
_INTERRUPTED = 130
_CONSEQUENCES = (LostProcessError.exit_code, _INTERRUPTED, -signal.SIGTERM)
"""Exit codes of processes that end because another has ended."""


def start_processes(number: int | None) -> None:
    """Start this command again in as many processes as asked for, and end as they end.

    Return at once in a process that is one of them, or where one process is enough.

    Raises:
        UsageError: torchrun has started another number.
        Exit: all have ended.
    """
    running = _count_processes()
    if running is not None:
        if number not in (None, running):
            raise UsageError(
                f"--processes: expected {running}, the number that torchrun has started; got {number}; "
                "leave it out"
            )
        return
    if number is None or number == 1:
        return
    raise typer.Exit(_launch(number))


def _launch(number: int) -> int:
    """Run this command in several processes; return the exit code of the first that failed."""
    logging.disable(logging.CRITICAL)  # torch's launcher would write its own lines
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415  loads torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=_RUN_ID,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "harness", *sys.argv[1:])
    except SignalException:
        return _INTERRUPTED
    except ChildFailedError as error:
        return _explain_failures(number, error.failures)
    return 0


def _explain_failures(number: int, failures: Mapping[int, ProcessFailure]) -> int:
    """Return the exit code of the process that failed first by itself, whose own line says why.

    Raises:
        HarnessError: a signal has ended it, so that it has printed no line.
    """
    causes = {rank: one for rank, one in failures.items() if one.exitcode not in _CONSEQUENCES} or failures
    # A process that another's orderly end surprises in torch's own threads is ended by a signal.
    orderly = {rank: one for rank, one in causes.items() if one.exitcode > 0}
    rank, first = min((orderly or causes).items(), key=lambda item: item[1].timestamp)
    if first.exitcode > 0 and first.exitcode not in _CONSEQUENCES:
        return int(first.exitcode)
    got = first.signal_name() if first.exitcode < 0 else "a lost connection"
    raise HarnessError(
        f"processes: expected {number} that go on; got {got} in process {rank}, and the others were stopped; "
        "run the same command again to resume"
    )


@contextmanager
def join_processes(
    device: str, threads: int | None, workers: str = "1"
) -> Iterator[tuple[ProcessGroup, WorkerChoice]]:
    """Choose device, threads and workers, and connect this process with those that were started with it.

    In all but the main process nothing is printed but an error that the others do not have.

    Raises:
        UsageError: there are several processes and several workers.
    """
    if _count_processes() is None:
        select_device(device)
        yield ALONE, select_workers(workers, threads, hint)
        return
    out.quiet = err.quiet = os.environ["RANK"] != "0"
    if workers != "1":
        raise UsageError(
            f"--workers {workers}: expected 1 where several processes train together; got more; leave one out"
        )
    select_threads(threads, hint, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    select_device(device, place=int(os.environ.get("LOCAL_RANK", "0")))
    from harness.train.distributed import join_process_group  # noqa: PLC0415  loads torch
    from harness.train.trainer import DivergedError  # noqa: PLC0415

    launched = os.environ.get("TORCHELASTIC_RUN_ID") == _RUN_ID
    try:
        with join_process_group() as group:
            yield group, WorkerChoice(1)
    except (LostProcessError, KeyboardInterrupt) as error:
        err.quiet = err.quiet or launched  # the process that started this one says so
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which it sends to a process that ends already
        raise error from None
    except (AgreedError, DivergedError):  # which the main process prints
        raise
    except Exception:
        err.quiet = False
        raise


def _count_processes() -> int | None:
    """Return how many processes torchrun has started; None where it has started none."""
    number = os.environ.get("WORLD_SIZE", "")
    return int(number) if number.isdecimal() and "RANK" in os.environ else None
