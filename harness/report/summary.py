"""Numbers that follow from others: averages over tasks, the retained score, the reduction in size."""

from __future__ import annotations

import math

from harness.precisions import FP32
from harness.report.exported import ExportResult
from harness.report.results import ModelResult, Results
from harness.report.values import IntervalValue

AVERAGE = "average"
"""The task name of comparisons over all tasks."""


def average_score(results: Results, model: str) -> float | None:
    """Return the mean over tasks of the main metrics; None where any of them is absent."""
    scores = [results.find_score(model, task) for task in results.declared.tasks]
    means = [one.mean for one in scores if one is not None]
    return sum(means) / len(means) if means and len(means) == len(scores) else None


def average_interval(results: Results, model: str) -> IntervalValue | None:
    """Return the interval of the average; the tasks' half-widths add up as for independent test sets."""
    centre = average_score(results, model)
    scores = [results.find_score(model, task) for task in results.declared.tasks]
    pairs = [(one.mean, one.interval) for one in scores if one is not None and one.interval is not None]
    if centre is None or len(pairs) < len(scores):
        return None
    below = math.hypot(*(mean - interval.low for mean, interval in pairs)) / len(pairs)
    above = math.hypot(*(interval.high - mean for mean, interval in pairs)) / len(pairs)
    return IntervalValue(low=centre - below, high=centre + above, level=pairs[0][1].level)


def find_teacher(results: Results) -> ModelResult | None:
    """Return the first teacher, with which the other models are compared."""
    return next(iter(results.list_models("teacher")), None)


def find_final_student(results: Results) -> ModelResult | None:
    """Return the last student, which the recipe makes."""
    return next(reversed(results.list_models("student")), None)


def compute_retention(results: Results, model: str) -> float | None:
    """Return the model's average as a share of the teacher's; None where either is absent."""
    teacher = find_teacher(results)
    whole = None if teacher is None else average_score(results, teacher.id)
    part = average_score(results, model)
    return part / whole if part is not None and whole else None


def compute_compression(results: Results, model: ModelResult) -> float | None:
    """Return the share of the teacher's parameters that was removed; None where a count is absent."""
    teacher = find_teacher(results)
    whole = None if teacher is None else teacher.num_parameters
    return 1 - model.num_parameters / whole if model.num_parameters is not None and whole else None


def compute_size_ratio(results: Results, file: ExportResult) -> float | None:
    """Return the size of the teacher's fp32 file over this file's, on one task; None if a size is absent."""
    teacher = find_teacher(results)
    if teacher is None or not file.size_bytes:
        return None
    whole = [
        one.size_bytes
        for one in results.exports
        if (one.model, one.task, one.precision) == (teacher.id, file.task, FP32)
    ]
    return whole[0] / file.size_bytes if whole and whole[0] else None
