"""Numbers that follow from others: averages over tasks, what a student retains, what it saves."""

from __future__ import annotations

import math

from harness.report.exported import ExportResult
from harness.report.results import ModelResult, Results
from harness.report.values import IntervalValue

AVERAGE = "average"
"""What comparisons over all tasks are called."""


def average(results: Results, model: str) -> float | None:
    """Gives the mean over tasks of the main metrics; None where any of them is absent."""
    scores = [results.score(model, task) for task in results.declared.tasks]
    means = [one.mean for one in scores if one is not None]
    return sum(means) / len(means) if means and len(means) == len(scores) else None


def average_interval(results: Results, model: str) -> IntervalValue | None:
    """Gives the interval of the average: the tasks' half-widths added as of independent test sets."""
    centre = average(results, model)
    scores = [results.score(model, task) for task in results.declared.tasks]
    pairs = [(one.mean, one.interval) for one in scores if one is not None and one.interval is not None]
    if centre is None or len(pairs) < len(scores):
        return None
    below = math.hypot(*(mean - interval.low for mean, interval in pairs)) / len(pairs)
    above = math.hypot(*(interval.high - mean for mean, interval in pairs)) / len(pairs)
    return IntervalValue(low=centre - below, high=centre + above, level=pairs[0][1].level)


def teacher_of(results: Results) -> ModelResult | None:
    """Gives the model the others are compared with: the first teacher."""
    return next(iter(results.by_role("teacher")), None)


def final_student(results: Results) -> ModelResult | None:
    """Gives the last student: what the recipe makes."""
    return next(reversed(results.by_role("student")), None)


def retention(results: Results, model: str) -> float | None:
    """Gives the model's average as a share of the teacher's; None where either is absent."""
    teacher = teacher_of(results)
    whole = None if teacher is None else average(results, teacher.id)
    part = average(results, model)
    return part / whole if part is not None and whole else None


def compression(results: Results, model: ModelResult) -> float | None:
    """Gives the share of the teacher's parameters that is gone; None where a count is absent."""
    teacher = teacher_of(results)
    whole = None if teacher is None else teacher.num_parameters
    return 1 - model.num_parameters / whole if model.num_parameters is not None and whole else None


def times_smaller(results: Results, file: ExportResult) -> float | None:
    """Gives how many times as large the teacher's fp32 file of the task is; None where a size is absent."""
    teacher = teacher_of(results)
    if teacher is None or not file.size_bytes:
        return None
    whole = [
        one.size_bytes
        for one in results.exports
        if (one.model, one.task, one.precision) == (teacher.id, file.task, "fp32")
    ]
    return whole[0] / file.size_bytes if whole and whole[0] else None
