"""Write command lines as Slurm's job arrays: files that can be read, edited and submitted by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, first_line

ARRAY_SIZE = 1000
"""Jobs of one array; Slurm's own bound, MaxArraySize, is 1001 by default."""
_SUBMIT = "submit.sh"


@dataclass(frozen=True)
class JobArrays:
    """Command lines in three steps, each of which begins when all jobs of the step before have ended.

    Attributes:
        name: of the jobs.
        cells: commands that may run at the same time.
        timings: commands that measure time: one at a time, on a machine without other jobs.
        last: one command, for the results.
        at_once: jobs of the first step at the same time.
        cpus: processors of a job.
        gpus: GPUs of a job.
    """

    name: str
    cells: Sequence[Sequence[str]]
    timings: Sequence[Sequence[str]]
    last: Sequence[str]
    at_once: int
    cpus: int
    gpus: int


def write_job_arrays(arrays: JobArrays, folder: Path) -> Path:
    """Write the commands, a batch file for each step, and the script that submits them; return the script.

    Invariants: a batch file that is there keeps its text, since it may have been edited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    steps = {"cells": arrays.cells, "timings": arrays.timings, "last": [arrays.last]}
    for step, commands in steps.items():
        (folder / f"{step}.txt").write_text("".join(f"{shlex.join(one)}\n" for one in commands), "utf-8")
        file = folder / f"{step}.sbatch"
        if not file.exists():
            file.write_text(_write_batch(arrays, step, folder.absolute()), encoding="utf-8")
    script = folder / _SUBMIT
    script.write_text(_write_script(arrays, folder.absolute()), encoding="utf-8")
    return script


def submit(script: Path) -> str:
    """Submit the job arrays; return what the script prints.

    Raises:
        HarnessError: there is no ``sbatch`` here, or it refuses a file.
    """
    try:
        done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or f"exit code {error.returncode}").strip().splitlines()[-1]
        raise HarnessError(
            f"{script}: expected sbatch to take the jobs; got '{reason}'; edit the files, and run it again"
        ) from error
    except OSError as error:
        raise HarnessError(f"{script}: expected bash; got '{first_line(error)}'; install it") from error
    return done.stdout.strip()


def _write_batch(arrays: JobArrays, step: str, folder: Path) -> str:
    """Return the batch file of a step; each job of its array runs one line of the step's commands."""
    settings = [f"job-name={arrays.name}-{step}", f"output={folder}/logs/{step}-%a.txt", "open-mode=append"]
    settings += ["ntasks=1", f"cpus-per-task={arrays.cpus}", "requeue"]
    settings += [f"gres=gpu:{arrays.gpus}"] if arrays.gpus else []
    settings += ["exclusive"] if step == "timings" else []
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH --{setting}" for setting in settings),
            "# Add what your cluster needs, as --partition, --account, --time and --mem: this file is kept.",
            "# A job that is requeued, or submitted again, goes on from its last checkpoint.",
            f"cd {shlex.quote(os.getcwd())} || exit 1",
            f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{arrays.cpus}}}"',
            "line=$((${FIRST:-0} + SLURM_ARRAY_TASK_ID + 1))",
            f'command=$(sed -n "${{line}}p" {shlex.quote(str(folder / step))}.txt)',
            'eval "exec $command"',
            "",
        ]
    )


def _write_script(arrays: JobArrays, folder: Path) -> str:
    """Return the script that submits all arrays, each step after the one before."""
    lines = ["#!/bin/bash", "# Submits the grid: the cells, then what measures time, then the results.",
             "set -euo pipefail", f"cd {shlex.quote(str(folder))}", 'after=""']  # fmt: skip
    steps = (
        ("cells", len(arrays.cells), arrays.at_once),
        ("timings", len(arrays.timings), 1),
        ("last", 1, 1),
    )
    for step, number, at_once in steps:
        lines.append('jobs=""')
        for first in range(0, number, ARRAY_SIZE):
            end = min(ARRAY_SIZE, number - first) - 1
            lines.append(
                f'jobs="$jobs:$(sbatch --parsable $after --array=0-{end}%{at_once} '
                f'--export=ALL,FIRST={first} {step}.sbatch)"'
            )
        lines.append('after="--dependency=afterany$jobs"')
        lines.append(f'echo "{step}: {number} jobs, ${{jobs#:}}"')
    return "\n".join(lines) + "\n"
