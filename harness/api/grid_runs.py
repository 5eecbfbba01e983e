"""The runs of a grid: check them before any is run, run one, and collect their results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from harness.api.options import PlannedRun, ScaleOptions, choose_scale, name_run, rename_recipe
from harness.api.running import finish_run, list_untimed, run_stages
from harness.config.grid import Cell, Grid
from harness.config.load import load_recipe
from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.errors import HarnessError
from harness.pipeline.execute import Observer
from harness.pipeline.manifest import Manifest
from harness.pipeline.plan import Stage
from harness.pipeline.store import Store
from harness.pipeline.workers import Send
from harness.plans.data_stages import check_language
from harness.plans.run import plan_run
from harness.plans.run_inputs import SharedInputs
from harness.plans.study import RefusedError
from harness.report.grid_results import CellResult, GridResults
from harness.report.results import read_results
from harness.units import format_duration


class StageLine(NamedTuple):
    """A stage of a cell that was run, skipped or waited for: how many were before it, and what to print."""

    done: int
    total: int
    text: str


@dataclass(frozen=True)
class PlannedGrid:
    """A grid of which every language, recipe and scale exists.

    Attributes:
        grid: the cells.
        recipes: by name.
        scales: by name and seed, with the grid's data and teacher.
    """

    grid: Grid
    recipes: Mapping[str, Recipe]
    scales: Mapping[tuple[str, int | None], Scale]

    def plan(self, cell: Cell, shared: SharedInputs | None = None) -> PlannedRun:
        """Return the plan of a cell; cells may share what they read and plan."""
        recipe, scale = self.recipes[cell.recipe], self.scales[cell.scale, cell.seed]
        return PlannedRun(plan_run(cell.language, recipe, scale, shared), cell.language, self.name(cell))

    def name(self, cell: Cell) -> str:
        """Return the name of a cell's run, which is that of its folder too."""
        scale = self.scales[cell.scale, cell.seed]
        return name_run(self.recipes[cell.recipe], scale, self.scales[cell.scale, None].seed)

    def list_arguments(self, cell: Cell) -> list[str]:
        """Return the arguments of ``harness reproduce`` that run a cell alone."""
        grid, teacher = self.grid, self.scales[cell.scale, cell.seed].teacher
        options = {
            "--recipe": cell.recipe,
            "--scale": cell.scale,
            "--seed": cell.seed,
            "--data": grid.data,
            "--teacher": grid.teacher and (teacher.origin or teacher.folder),
            "--tasks": ",".join(grid.tasks) or None,
        }
        given = [(name, str(value)) for name, value in options.items() if value is not None]
        return ["reproduce", cell.language, *(word for pair in given for word in pair)]


def plan_grid(grid: Grid, hint: Callable[[str], None] = lambda _: None) -> PlannedGrid:
    """Return a grid of which every language, recipe and scale exists and fits.

    A recipe is tried on one language, and a language with one recipe: the plan of each cell is made when it
    is run.

    Raises:
        RefusedError: something does not exist or does not fit; the error has a line for each.
    """
    lines: list[str] = []
    recipes, scales = {}, {}
    languages: dict[str, str] = {}
    for name in grid.recipes:
        with _note_refusal(lines):
            recipes[name] = load_recipe(rename_recipe(name, hint))
    for scale, seed in product(grid.scales, dict.fromkeys((None, *grid.seeds))):
        with _note_refusal(lines):
            scales[scale, seed] = _choose_scale(grid, scale, seed)
    for language, scale in dict.fromkeys((cell.language, cell.scale) for cell in grid.cells):
        if (scale, None) in scales:
            with _note_refusal(lines):
                check_language(language, scales[scale, None])
                languages.setdefault(scale, language)
    for name, scale in dict.fromkeys((cell.recipe, cell.scale) for cell in grid.cells):
        if name in recipes and scale in languages:
            with _note_refusal(lines, f"{name}: "):
                plan_run(languages[scale], recipes[name], scales[scale, None])
    if lines:
        raise RefusedError(lines, len(grid.languages) + len(grid.recipes) + len(grid.scales))
    return PlannedGrid(grid, recipes, scales)


def _choose_scale(grid: Grid, name: str, seed: int | None) -> Scale:
    data = None if grid.data is None else Path(grid.data)
    return choose_scale(name, ScaleOptions(data, grid.teacher, tasks=",".join(grid.tasks) or None, seed=seed))


@contextmanager
def _note_refusal(lines: list[str], place: str = "") -> Iterator[None]:
    """Add a line for an error of the body, and go on."""
    try:
        yield
    except HarnessError as error:
        lines.append(str(error) if str(error).startswith(place) else f"{place}{error}")


@dataclass(frozen=True)
class CellCall:
    """Runs a cell in a worker process or a task of Ray.

    Attributes:
        grid: of the cell.
        runs: where runs are kept.
        timed: whether to measure times too, and to finish the run; else every stage that needs no time is
            run, so that several cells at once disturb no measurement.
        checkpoint_s: seconds between checkpoints.
    """

    grid: PlannedGrid
    runs: Path
    timed: bool
    checkpoint_s: float | None = None

    def __call__(self, cell: Cell, send: Send) -> None:
        """Run the cell; send a line for each stage that is run."""
        planned = self.grid.plan(cell)
        observer = _CellObserver(send, len(planned.plan.plan))
        if self.timed:
            finish_run(planned, self.runs, observer=observer, checkpoint_s=self.checkpoint_s)
            return
        run_stages(
            planned.plan.plan,
            Store(self.runs),
            planned.folder,
            observer=observer,
            selected=list_untimed(planned.plan.plan),
            checkpoint_s=self.checkpoint_s,
        )


class _CellObserver(Observer):
    """Sends a line for each stage that was run or is waited for."""

    def __init__(self, send: Send, total: int) -> None:
        self.send, self.total, self.done = send, total, 0

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        del folder
        self.done += 1
        self._say(f"{stage.id}: done in {format_duration(written.wall_s)}")

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        del stage, folder, written
        self.done += 1

    def waiting(self, stage: Stage, holder: str) -> None:
        self._say(f"{stage.id}: waiting for {holder}, which is running it")

    def remark(self, stage: Stage, line: str) -> None:
        self._say(f"{stage.id}: {line}")

    def _say(self, text: str) -> None:
        self.send(StageLine(self.done, self.total, text))


def count_done(planned: PlannedGrid, runs: Path) -> Iterator[tuple[Cell, int, int]]:
    """Yield for each cell how many of its stages are in the folder of runs, and how many it has.

    A cell whose recipe does not fit its language has no stages.
    """
    present = Store(runs).index()
    shared = SharedInputs()
    for cell in planned.grid.cells:
        keys: Collection[str] = ()
        with suppress(HarnessError):
            keys = planned.plan(cell, shared).plan.plan.keys.values()
        yield cell, sum(key in present for key in keys), len(keys)


def collect_results(planned: PlannedGrid, runs: Path, failed: Mapping[Cell, str]) -> GridResults:
    """Return the scores of all cells that have ended; no cell is run."""
    present = Store(runs).index()
    shared = SharedInputs()
    cells = []
    for cell in planned.grid.cells:
        folder = f"{cell.language}/{planned.name(cell)}"
        missing = CellResult(**cell._asdict(), folder=folder, state="missing")
        try:
            if cell in failed:
                raise HarnessError(failed[cell])
            report = present.get(planned.plan(cell, shared).plan.plan.keys["report"])
        except HarnessError as error:
            cells.append(missing.model_copy(update={"state": "failed", "reason": str(error)}))
            continue
        done = missing.model_copy(update={"state": "done"})
        cells.append(done.add_results(read_results(report / "results.json")) if report else missing)
    return GridResults(name=planned.grid.name, cells=tuple(cells))
