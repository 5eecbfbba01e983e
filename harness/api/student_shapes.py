"""Choose a student's shape by a budget of file size and latency, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.api.options import ScaleOptions, choose_scale, rename_recipe
from harness.config.file_budget import FileBudget, parse_file_budget
from harness.config.load import load_recipe
from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.teacher import find_teacher
from harness.deploy.latency_table import (
    LatencySetting,
    LatencyTable,
    find_table,
    keep_table,
    list_table_shapes,
)
from harness.errors import UsageError
from harness.plans.shape_choice import BASE, Proposal, make_recipe, propose_shapes


@dataclass(frozen=True)
class ShapeChoice:
    """The shapes that fit a budget, and the recipe of the first.

    Attributes:
        budget: the limits.
        teacher: the shape that students are cut from.
        setting: of the latency.
        table: the measured latencies; None where the budget states no latency.
        proposals: the best first.
        recipe: makes the first of them.
        scale: with the teacher of the options.
    """

    budget: FileBudget
    teacher: Shape
    setting: LatencySetting
    table: LatencyTable | None
    proposals: tuple[Proposal, ...]
    recipe: Recipe
    scale: Scale


def choose_shapes(
    budget: str,
    *,
    recipe: str | None = None,
    scale: str | Path = "mini",
    options: ScaleOptions = ScaleOptions(),  # noqa: B008  frozen
    length: int | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ShapeChoice:
    """Return the shapes of the least cost that fit a budget.

    The first budget with a latency times students on this machine, about a minute; later ones read the table
    that it keeps.

    Args:
        budget: as ``4 MB int8, 5 ms``.
        recipe: whose steps make the shape; None: the scale's, or compact2026.
        scale: name or YAML file; its teacher is cut.
        options: replace parts of the scale.
        length: tokens of the timed row; None: the longest of the scale's.
        threads: of the timed session.
        progress: called with the number of students that are exported, and of all.

    Raises:
        UsageError: the budget cannot be read, nothing fits it, or the length is too long for the teacher.
    """
    amount = choose_scale(scale, options)
    base = load_recipe(rename_recipe(recipe or amount.recipe or BASE))
    teacher = find_teacher(base, amount).shape
    limits = parse_file_budget(budget)
    setting = LatencySetting(limits.precision, length or max(amount.latency.lengths), threads)
    if setting.length > teacher.max_length:
        raise UsageError(
            f"--length: expected at most {teacher.max_length} tokens, the teacher's positions; "
            f"got {setting.length}; lower it"
        )
    table = None if limits.latency_ms is None else _get_table(teacher, setting, progress)
    proposals = propose_shapes(teacher, limits, table.model.predict_ms if table else None)
    note = f"plan --budget, for {limits} from {teacher.layers} × {teacher.hidden}: {proposals[0]}"
    made = make_recipe(base, teacher, proposals[0].shape, amount, note)
    return ShapeChoice(limits, teacher, setting, table, tuple(proposals), made, amount)


def _get_table(teacher: Shape, setting: LatencySetting, progress: Callable[[int, int], None]) -> LatencyTable:
    """Return the kept table of this machine, or measure and keep one."""
    kept = find_table(teacher, setting)
    if kept is not None:
        return kept
    from harness.deploy.student_timing import time_students  # noqa: PLC0415  a kept table needs no torch

    progress(0, len(list_table_shapes(teacher)))
    timed = time_students(list_table_shapes(teacher), setting, progress)
    return keep_table(teacher, setting, [one.p50_ms for one in timed])
