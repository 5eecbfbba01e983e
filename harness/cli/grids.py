"""The command that runs a grid: languages × recipes × scales × seeds over an executor."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from harness.api.grid_runs import CellCall, PlannedGrid, StageLine, collect_results, count_done, plan_grid
from harness.api.options import DEFAULT_RUNS
from harness.api.running import make_gpu_chooser
from harness.cli.app import CheckpointEvery, Device, Runs, Threads, app, err, hint, out, print_table
from harness.cli.device import select_device
from harness.cli.threads import count_allowed
from harness.cli.worker_choice import WorkerChoice, select_workers
from harness.config.grid import Cell, load_grid
from harness.errors import HarnessError, UsageError, first_line
from harness.pipeline.executors import slurm
from harness.pipeline.executors.local import run_locally
from harness.pipeline.executors.ray import run_on_ray
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.pipeline.workers import Message
from harness.plans.estimate import estimate_plan
from harness.plans.study import RefusedError
from harness.report.grid_results import LEADERBOARD, RESULTS, write_grid_results

GRIDS = "grids"
"""The folder, in the folder of runs, of the results of grids."""


@dataclass(frozen=True)
class _Options:
    """How the cells of a grid are run."""

    runs: Path
    executor: Literal["local", "slurm", "ray"]
    workers: WorkerChoice
    threads: int
    retries: int
    checkpoint_s: float | None

    def run(self, planned: PlannedGrid, cells: Mapping[str, Cell], *, timed: bool) -> Iterator[Message]:
        """Run cells, one at a time where times are measured; yield what they send."""
        call = CellCall(planned, self.runs.absolute(), timed, self.checkpoint_s)
        number, gpus = (1 if timed else self.workers.number), self.workers.gpus
        if self.executor == "ray":
            cpus = None if timed else self.threads
            return run_on_ray(call, cells, cpus=cpus, gpus=1 if gpus else 0, retries=self.retries)
        return run_locally(call, cells, number=number, retries=self.retries, prepare=make_gpu_chooser(gpus))


@app.command()
def grid(
    file: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="languages, recipes, scales, seeds, …")],
    *,
    executor: Annotated[str, typer.Option(help="local, slurm or ray: where the cells are run")] = "local",
    workers: Annotated[
        str, typer.Option(metavar="N|auto", help="cells at the same time, on one machine or in Slurm's array")
    ] = "1",
    threads: Threads = None,
    device: Device = "auto",
    retries: Annotated[
        int, typer.Option(min=0, help="how often a cell begins again after its worker was killed")
    ] = 2,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="slurm: write the files and submit nothing; else print the cells"),
    ] = False,
    show: Annotated[bool, typer.Option("--status", help="print how far each cell is; run nothing")] = False,
    collect: Annotated[
        bool, typer.Option("--collect", help="write the results of the finished cells; run nothing")
    ] = False,
) -> None:
    """Run each combination of languages, recipes, scales and seeds; what two cells share is made once."""
    if executor not in {"local", "slurm", "ray"}:
        raise UsageError(f"--executor: expected local, slurm or ray; got '{executor}'; choose one of them")
    planned = check_grid(file)
    if show:
        print_progress(planned, runs)
        return
    if collect or (dry_run and executor != "slurm"):
        _write_results(planned, runs, {}) if collect else print_cells(planned, runs)
        return
    select_device(device)
    chosen = select_workers(workers, threads, hint)
    each = threads or max(1, count_allowed() // chosen.number)
    if executor == "slurm":
        _submit(planned, file, runs, chosen, each, dry_run=dry_run)
        return
    number = chosen.fit_memory(_estimate_memory(planned, Store(runs))) if chosen.is_bounded else chosen.number
    chosen = replace(chosen, number=number)
    options = _Options(runs, executor, chosen, each, retries, checkpoint_every)  # type: ignore[arg-type]
    failed = _run_cells(planned, options)
    _write_results(planned, runs, failed)
    if failed:
        for cell, reason in failed.items():
            err.print(f"failed: {cell}: {reason}", soft_wrap=True, markup=False)
        raise HarnessError(
            f"grid: {len(failed)} of {len(planned.grid.cells)} cells failed; correct what is named, and "
            "run the same command again: finished stages and checkpoints are kept"
        )


def check_grid(file: Path) -> PlannedGrid:
    """Read a grid and check all that its cells name; print a line for each fault."""
    try:
        return plan_grid(load_grid(file), hint)
    except RefusedError as refused:
        for line in refused.lines:
            err.print(line, soft_wrap=True, markup=False)
        raise


def _estimate_memory(planned: PlannedGrid, store: Store) -> int:
    """Return about how many bytes the largest missing stage of a cell takes, of each recipe and scale."""
    cells = {(cell.recipe, cell.scale): cell for cell in planned.grid.cells}
    needed = [0]
    for cell in cells.values():
        with suppress(HarnessError):  # the cell will say so when it is run
            plan = planned.plan(cell).plan.plan
            needed.append(estimate_plan(plan, status(plan, store), store).memory_bytes)
    return max(needed)


def _run_cells(planned: PlannedGrid, options: _Options) -> dict[Cell, str]:
    """Run all cells up to what measures time, then that; return why cells failed."""
    cells = {str(cell): cell for cell in planned.grid.cells}
    failed: dict[Cell, str] = {}
    for timed in (False, True):
        left = {name: cell for name, cell in cells.items() if cell not in failed}
        if timed and left:
            err.print(f"now the times and reports of {len(left)} cells, one after the other", markup=False)
        ended = 0
        for message in options.run(planned, left, timed=timed):
            ended += message.kind != "event"
            if message.kind == "error":
                failed[cells[message.name]] = _explain(message.content)
            line = _describe(message, f"{ended}/{len(left)}")
            err.print(f"{message.name}: {line}", soft_wrap=True, markup=False)
    return failed


def _explain(error: Exception) -> str:
    """Return the line of an error that ended a cell."""
    if isinstance(error, HarnessError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}"


def _describe(message: Message, place: str) -> str:
    content: Any = message.content
    if message.kind == "result":
        return f"ended ({place} cells)"
    if message.kind == "error":
        return f"failed ({place} cells): {_explain(content)}"
    if isinstance(content, StageLine):
        return f"[{content.done}/{content.total}] {content.text}"
    return str(content)


def _submit(
    planned: PlannedGrid, file: Path, runs: Path, workers: WorkerChoice, cpus: int, *, dry_run: bool
) -> None:
    """Write Slurm's job arrays, and submit them."""
    command = [sys.executable, "-m", "harness"]
    place = ["--runs", str(runs.absolute())]
    cells = [[*command, *planned.list_arguments(cell), *place] for cell in planned.grid.cells]
    arrays = slurm.JobArrays(
        name=planned.grid.name,
        cells=[[*one, "--without-times"] for one in cells],
        timings=cells,
        last=[*command, "grid", str(file.absolute()), *place, "--collect"],
        at_once=workers.number,
        cpus=cpus,
        gpus=1 if workers.gpus else 0,
    )
    script = slurm.write_job_arrays(arrays, runs / GRIDS / planned.grid.name / "slurm")
    if dry_run:
        out.print(f"written: {script.parent}; submit it by: bash {script}", soft_wrap=True, markup=False)
        return
    out.print(slurm.submit(script), soft_wrap=True, markup=False)
    out.print(f"how far they are: harness grid {file} --runs {runs} --status", soft_wrap=True, markup=False)


def _write_results(planned: PlannedGrid, runs: Path, failed: Mapping[Cell, str]) -> None:
    """Write the results of the finished cells, and print the leaderboard."""
    folder = runs / GRIDS / planned.grid.name
    write_grid_results(collect_results(planned, runs, failed), folder)
    out.print((folder / LEADERBOARD).read_text(encoding="utf-8"), soft_wrap=True, markup=False)
    out.print(f"grid: {folder / LEADERBOARD}  {folder / RESULTS}", soft_wrap=True, markup=False)


def print_progress(planned: PlannedGrid, runs: Path) -> None:
    """Print how many stages of each cell are done."""
    rows = list(count_done(planned, runs))
    table = Table("language", "recipe", "scale", "seed", "stages done", title=planned.grid.name)
    for cell, done, total in rows:
        seed = "–" if cell.seed is None else str(cell.seed)
        state = f"{done} of {total}" if total else "does not fit"
        table.add_row(cell.language, cell.recipe, cell.scale, seed, state)
    print_table(table, keys=4)
    ended = sum(done == total > 0 for _, done, total in rows)
    out.print(f"{ended} of {len(rows)} cells have ended", markup=False)


def print_cells(planned: PlannedGrid, runs: Path) -> None:
    """Print the cells as tab-separated values, each with the command that runs it."""
    header = ("language", "recipe", "scale", "seed", "folder", "command")
    typer.echo("\t".join(header))
    for cell in planned.grid.cells:
        words = ["harness", *planned.list_arguments(cell), "--runs", str(runs)]
        seed = "" if cell.seed is None else str(cell.seed)
        folder = f"{cell.language}/{planned.name(cell)}"
        row = (cell.language, cell.recipe, cell.scale, seed, folder, shlex.join(words))
        typer.echo("\t".join(row))
