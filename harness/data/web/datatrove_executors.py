"""The executors of datatrove: one line for an error, no other output, workers that end with the command.

This module imports datatrove, an extra: only `harness.data.web.build` imports it, when a corpus is made.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any, Literal

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.utils.logging import logger

from harness.errors import HarnessError, first_line

Kind = Literal["local", "slurm", "ray"]
KINDS: tuple[Kind, ...] = ("local", "slurm", "ray")
_FAULT = re.compile(r"^harness\.errors\.\w+: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class PipelineStage:
    """A part of the work: a pipeline that runs as a number of independent tasks."""

    name: str
    pipeline: Sequence[Any]
    tasks: int


class _LocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]
    """Tasks in processes of this machine; a process that is lost is an error, not a wait without end."""

    def run(self) -> None:
        """Run the tasks that have not ended before."""
        ranks = self.get_incomplete_ranks()
        if self.workers == 1 or len(ranks) < 2:
            for rank in ranks:
                deepcopy(self).run_quietly(rank)
            return
        context = get_context("forkserver")
        context.set_forkserver_preload(["__main__", "harness.data.web.pipelines"])
        others = set(active_children())
        number = min(self.workers, len(ranks))
        pool = ProcessPoolExecutor(number, mp_context=context, initializer=_end_with_parent)
        try:
            for future in as_completed([pool.submit(self.run_quietly, rank) for rank in ranks]):
                future.result()
        except BrokenProcessPool as fault:
            raise HarnessError(
                "corpus: expected workers that end their tasks; got one that was killed, as happens where "
                "memory is short; run the same command again, with fewer --workers: finished files are kept"
            ) from fault
        finally:  # after an error or Ctrl-C, tasks that still run are made again by the next command
            for worker in set(active_children()) - others:
                worker.kill()
            pool.shutdown(cancel_futures=True)

    def run_quietly(self, rank: int) -> None:
        """Run one task; its log is in the folder of logs alone."""
        with redirect_stderr(io.StringIO()):
            try:
                self._run_for_rank(rank)
            finally:
                logger.remove()


def run_stages(
    stages: Sequence[PipelineStage], logs: Path, workers: int, report: Callable[[str], None]
) -> None:
    """Run stages one after the other in processes of this machine.

    Raises:
        HarnessError: a task failed; the text is that of the task's own error.
    """
    logger.remove()
    for number, stage in enumerate(stages, 1):
        report(f"[{number}/{len(stages)}] {stage.name}: {stage.tasks} tasks")
        _LocalExecutor(
            pipeline=list(stage.pipeline),
            tasks=stage.tasks,
            workers=min(workers, stage.tasks),
            logging_dir=str(logs / stage.name),
        ).run()


def run_stages_on_ray(
    stages: Sequence[PipelineStage], logs: Path, workers: int, report: Callable[[str], None]
) -> None:
    """Run stages as tasks of Ray, on the cluster that ``RAY_ADDRESS`` names, or else on this machine.

    Raises:
        HarnessError: Ray cannot be reached, or a task failed each time that it was tried.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415 - an extra, which only this executor needs

    logger.remove()
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise HarnessError(
            f"ray: expected a cluster at RAY_ADDRESS, or to start one here; got '{first_line(error)}'; "
            "correct the address, or unset it"
        ) from error
    for number, stage in enumerate(stages, 1):
        report(f"[{number}/{len(stages)}] {stage.name}: {stage.tasks} tasks")
        executor = RayPipelineExecutor(
            pipeline=list(stage.pipeline),
            tasks=stage.tasks,
            workers=min(workers, stage.tasks),
            logging_dir=str(logs / stage.name),
            mem_per_cpu_gb=_RAY_GB,
            tasks_per_job=-(-stage.tasks // (_RAY_TURNS * workers)),
        )
        executor.run()
        for rank in executor.get_incomplete_ranks():
            log = logs / stage.name / "logs" / f"task_{rank:05d}.log"
            faults = _FAULT.findall(log.read_text(encoding="utf-8")) if log.is_file() else []
            reason = faults[-1] if faults else f"a task of '{stage.name}' did not end, see {log.parent}"
            raise HarnessError(reason)


def submit_stages(
    stages: Sequence[PipelineStage], logs: Path, workers: int, partition: str, time: str
) -> str:
    """Submit stages as job arrays of Slurm, each after the one before; return the last job's number.

    Raises:
        HarnessError: ``sbatch`` is missing, or refuses a job.
    """
    logger.remove()
    executor = None
    activate = f"{sys.prefix}/bin/activate" if sys.prefix != sys.base_prefix else None
    for stage in stages:
        executor = SlurmPipelineExecutor(
            pipeline=list(stage.pipeline),
            tasks=stage.tasks,
            workers=workers,
            time=time,
            partition=partition,
            job_name=f"corpus-{stage.name}",
            logging_dir=str(logs / stage.name),
            depends=executor,
            venv_path=activate,
            qos="",
        )
    assert executor is not None
    try:
        executor.run()
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        raise HarnessError(
            f"slurm: expected sbatch to take the jobs; got '{first_line(error)}'; submit from another machine"
        ) from error
    return str(executor.job_id)


_RAY_TURNS = 8
"""Into how many processes, one after the other, the tasks of each worker are divided."""
_RAY_GB = 0.5
"""Memory that a task of Ray asks for, in GB; see docs/web-corpora.md for what it takes."""


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that died."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: Any) -> None:
    parent.join()
    os._exit(1)
