"""Collect the scores of a grid's runs: ``results.json``, and a leaderboard of recipes over languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

from harness.json_files import write_json
from harness.report.results import Results, TaskScore
from harness.report.summary import average_score, compute_retention, find_final_student, find_teacher
from harness.report.tables import ABSENT, Table, format_optional, format_percent
from harness.report.templates import load_templates
from harness.report.values import Count, ReportModel
from harness.units import format_count

RESULTS, LEADERBOARD = "results.json", "leaderboard.md"
_NOTE = (
    "Percent of the teacher's average over the tasks that the final student keeps, and in brackets the "
    "student's average, both means over the seeds. – where no run of the cell has ended."
)
_RANKED_NOTE = (
    "Means over the languages in which every recipe of the table has ended, so that no recipe is ahead "
    "because it was tried on easier languages. Best in: of these languages, those in which no recipe keeps "
    "more."
)


class CellResult(ReportModel):
    """A run of a grid.

    Attributes:
        language: code.
        recipe: as the grid names it.
        scale: as the grid names it.
        seed: None: the scale's own.
        folder: of the run in the folder of runs.
        state: whether it has ended, failed, or not been run.
        reason: why it failed.
        parameters: of the final student.
        average: the student's mean over tasks of their main metrics.
        retention: the average as a share of the teacher's.
        scores: of the teacher and the final student.
    """

    language: str
    recipe: str
    scale: str
    seed: Count | None
    folder: str
    state: Literal["done", "failed", "missing"]
    reason: str | None = None
    parameters: Count | None = None
    average: float | None = None
    retention: float | None = None
    scores: tuple[TaskScore, ...] = ()

    def add_results(self, results: Results) -> CellResult:
        """Return the cell with the scores of its finished run; no time is among them."""
        teacher, student = find_teacher(results), find_final_student(results)
        if student is None:
            return self
        shown = {student.id} if teacher is None else {teacher.id, student.id}
        scored = {
            "parameters": student.num_parameters,
            "average": average_score(results, student.id),
            "retention": compute_retention(results, student.id),
            "scores": tuple(score for score in results.scores if score.model in shown),
        }
        return self.model_copy(update=scored)


class GridResults(ReportModel):
    """All runs of a grid."""

    schema_version: Literal[1] = 1
    name: str
    cells: tuple[CellResult, ...]

    def tabulate(self) -> list[Table]:
        """Return for each scale the recipes in the order of what they keep, and a row for each language."""
        scales = dict.fromkeys(cell.scale for cell in self.cells)
        return [table for scale in scales for table in _tabulate_scale(self.cells, scale)]


def write_grid_results(results: GridResults, folder: Path) -> None:
    """Write ``results.json`` and ``leaderboard.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS, results.model_dump(mode="json"))
    failed = [cell for cell in results.cells if cell.state != "done"]
    page = load_templates().get_template("grid.md.j2").render(
        name=results.name, num_cells=len(results.cells), failed=failed, tables=results.tabulate()
    )  # fmt: skip
    (folder / LEADERBOARD).write_text(page, encoding="utf-8")


def _tabulate_scale(cells: Sequence[CellResult], scale: str) -> Iterable[Table]:
    chosen = [cell for cell in cells if cell.scale == scale]
    recipes = list(dict.fromkeys(cell.recipe for cell in chosen))
    languages = list(dict.fromkeys(cell.language for cell in chosen))
    kept = _average(chosen, "retention")
    averages, sizes = _average(chosen, "average"), _average(chosen, "parameters")
    shared = [one for one in languages if all((one, recipe) in kept for recipe in recipes)]
    means = {recipe: fmean(kept[one, recipe] for one in shared) for recipe in recipes if shared}
    ranked = sorted(recipes, key=lambda recipe: -means.get(recipe, 0.0))
    rows = []
    for recipe in ranked:
        own = [sizes[one, recipe] for one in languages if (one, recipe) in sizes]
        size = format_count(round(fmean(own))) if own else ABSENT
        best = sum(kept[one, recipe] >= max(kept[one, other] for other in recipes) for one in shared)
        mean = format_optional(means.get(recipe), format_percent)
        rows.append((recipe, size, mean, f"{best} of {len(shared)}"))
    header = ("Recipe", "Parameters", "% of teacher", "Best in")
    yield Table(f"Recipes at {scale}", header, tuple(rows), _RANKED_NOTE)
    lines = []
    for language in languages:
        pairs = [(language, recipe) for recipe in ranked]
        lines.append((language, *(_format_pair(kept.get(pair), averages.get(pair)) for pair in pairs)))
    yield Table(f"Languages at {scale}", ("Language", *ranked), tuple(lines), _NOTE)


def _format_pair(kept: float | None, average: float | None) -> str:
    if kept is None or average is None:
        return ABSENT
    return f"{format_percent(kept)} ({format_percent(average)})"


def _average(cells: Iterable[CellResult], field: str) -> Mapping[tuple[str, str], float]:
    """Return the mean over seeds of a number, by language and recipe."""
    values = defaultdict(list)
    for cell in cells:
        value = getattr(cell, field)
        if value is not None:
            values[cell.language, cell.recipe].append(value)
    return {pair: fmean(many) for pair, many in values.items()}
