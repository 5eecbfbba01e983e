"""The report's answer: how large, how fast and how good the student is, and whether to take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.baselines import BASELINES
from harness.precisions import FP32
from harness.report.comparisons import format_points
from harness.report.results import ModelResult, Results
from harness.report.summary import (
    AVERAGE,
    average_score,
    compute_compression,
    compute_retention,
    find_final_student,
    find_teacher,
)
from harness.report.tables import format_percent, format_retention, format_task
from harness.units import format_count
from harness.verdict import Verdict, describe_verdict

Recommendation = Literal[
    "nothing compared",
    "a baseline is better",
    "a baseline is better on a task",
    "no baseline",
    "level with a baseline",
    "a larger model is better",
    "take the student",
]
LINEAR = frozenset(row.id for row in BASELINES if row.kind == "linear")
"""The ids of the linear models, which are alternatives to a student whatever their size."""
_REMEDY = "To get past it, try more text, a larger student, a stronger teacher, or more labels."


@dataclass(frozen=True)
class Rival:
    """A model that the student is compared with.

    Attributes:
        name: in tables.
        verdict: on the student, over the average of all tasks, or on the only task.
        worse_on: tasks on which the student is worse.
        larger: whether it is an encoder with more parameters than the student.
    """

    name: str
    verdict: Verdict
    worse_on: tuple[str, ...] = ()
    larger: bool = False


def decide_recommendation(teacher: Rival | None, baselines: Sequence[Rival]) -> Recommendation:
    """Return whether to take the student, from its significant differences to the other models.

    An encoder with more parameters than the student is an alternative to the teacher, not to the student.
    """
    small = [one for one in baselines if not one.larger]
    large = [one for one in (teacher, *baselines) if one is not None and one not in small]
    rules: tuple[tuple[bool, Recommendation], ...] = (
        (not small and not large, "nothing compared"),
        (any(one.verdict == "worse" for one in small), "a baseline is better"),
        (any(one.worse_on for one in small), "a baseline is better on a task"),
        (not small, "no baseline"),
        (any(one.verdict != "better" for one in small), "level with a baseline"),
        (any(one.verdict == "worse" or one.worse_on for one in large), "a larger model is better"),
    )
    return next((recommendation for applies, recommendation in rules if applies), "take the student")


def write_recommendation(teacher: Rival | None, baselines: Sequence[Rival]) -> str:
    """Return the recommendation in plain words, with what to try where a baseline is as good or better.

    Args:
        teacher: None where the student was not compared with it.
        baselines: the strongest first.
    """
    small = [one for one in baselines if not one.larger]
    large = [one for one in (teacher, *baselines) if one is not None and one not in small]
    recommendation = decide_recommendation(teacher, baselines)
    if recommendation == "nothing compared":
        text = (
            "Whether to take this student is open: it was scored on no task. Label some sentences of a "
            "task, and run again."
        )
    elif recommendation == "a baseline is better":
        better = [one for one in small if one.verdict == "worse"]
        text = f"Do not take this student: {_list_names(better)} {_be(better)} better. {_REMEDY}"
    elif recommendation == "a baseline is better on a task":
        better = [one for one in small if one.worse_on]
        tasks = ", ".join(dict.fromkeys(format_task(task) for one in better for task in one.worse_on))
        text = (
            f"Do not take this student for {tasks}, where {_list_names(better)} {_be(better)} better; "
            f"on the average of the tasks no baseline is. {_REMEDY}"
        )
    elif recommendation == "no baseline":
        text = (
            "Whether to take this student is open: it was compared with no baseline of its size or "
            "smaller, and a linear model may do as well. Let the scale score the baseline tfidf."
        )
    elif recommendation == "level with a baseline":
        level = [one for one in small if one.verdict != "better"]
        text = (
            "There is no reason to take this student yet: there is no significant difference from "
            f"{_list_names(level)}. More labels or seeds make smaller differences significant. {_REMEDY}"
        )
    elif recommendation == "a larger model is better":
        better = [one for one in large if one.verdict == "worse" or one.worse_on]
        everywhere = any(one.verdict == "worse" for one in better)
        text = (
            "Take this student where its size or speed matters: it is better than every baseline of its "
            f"size or smaller, but {_list_names(better)} {_be(better)} better"
            f"{'' if everywhere else ' on a task'}."
        )
    else:
        size = " of its size or smaller" if any(one.larger for one in baselines) else ""
        teachers = ", and no larger model is significantly better" if large else ""
        text = f"Take this student: it is better than every baseline{size}{teachers}."
    return text


def _list_names(rivals: Sequence[Rival]) -> str:
    names = [f"“{one.name}”" for one in rivals]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _be(rivals: Sequence[Rival]) -> str:
    return "is" if len(rivals) == 1 else "are"


def find_rival(results: Results, student: ModelResult, other: ModelResult) -> Rival | None:
    """Return a model as the student's rival; None where the two were not compared."""
    tasks = tuple(results.declared.tasks)
    whole = results.find_comparison(student.id, other.id, AVERAGE if len(tasks) > 1 else "".join(tasks))
    rows = [(task, results.find_comparison(student.id, other.id, task)) for task in tasks]
    if whole is None:
        return None
    own, size = student.num_parameters, other.num_parameters
    return Rival(
        name=other.title,
        verdict=whole.verdict,
        worse_on=tuple(task for task, row in rows if row is not None and row.verdict == "worse"),
        larger=other.id not in LINEAR and bool(own and size and size > own),
    )


def rank_baselines(results: Results) -> list[ModelResult]:
    """Return the baselines, the highest average first."""
    return sorted(results.list_models("baseline"), key=lambda one: -(average_score(results, one.id) or 0))


def write_answer(results: Results) -> tuple[str, ...]:
    """Return sentences on the size, the speed and the scores of the student, and the recommendation.

    A sentence whose numbers are absent is left out; the recommendation is last.
    """
    student = find_final_student(results)
    if student is None:
        return ("This run made no student.",)
    teacher = find_teacher(results)
    baselines = rank_baselines(results)
    rivals = [find_rival(results, student, one) for one in baselines]
    sentences = (
        _describe_size(results, student),
        _describe_speed(results, student),
        _describe_loss(results, student, teacher),
        _describe_retention(results, student, teacher),
        _describe_baseline(results, student, baselines),
        write_recommendation(
            None if teacher is None else find_rival(results, student, teacher),
            [one for one in rivals if one is not None],
        ),
    )
    return tuple(one for one in sentences if one)


def _describe_size(results: Results, student: ModelResult) -> str:
    saved = compute_compression(results, student)
    size = "" if student.num_parameters is None else f" has {format_count(student.num_parameters)} parameters"
    less = "" if saved is None else f", {format_percent(saved)} % fewer than the teacher"
    return f"The student for {results.run.language_name}{size or ' is finished'}{less}."


def _describe_speed(results: Results, student: ModelResult) -> str:
    files = (one for one in results.exports if (one.model, one.precision) == (student.id, FP32))
    file = next((one for one in files if one.p50_ms is not None), None)
    if file is None or file.ratio is None:
        return ""
    bounds = file.ratio.interval
    times = f"{file.ratio.value:.2f} ({bounds.low:.2f}–{bounds.high:.2f}) times as fast as the teacher's"
    if not bounds.excludes(1):
        times = "with no significant difference from the teacher's"
    length = f" with {file.length} tokens" if file.length else ""
    return f"Its fp32 ONNX file takes {file.p50_ms:.2f} ms for a row{length}, {times}."


def _describe_loss(results: Results, student: ModelResult, teacher: ModelResult | None) -> str:
    """Return the losses on held-out text, which are all there is without labelled tasks."""
    losses = {one.model: one.loss_per_byte for one in results.held_out}
    if results.declared.tasks or student.id not in losses:
        return ""
    other = f", the teacher's {losses[teacher.id]:.3f}" if teacher and teacher.id in losses else ""
    return f"Its loss on held-out text is {losses[student.id]:.3f} nats a byte{other}."


def _describe_retention(results: Results, student: ModelResult, teacher: ModelResult | None) -> str:
    if teacher is None or compute_retention(results, student.id) is None:
        return ""
    rival = find_rival(results, student, teacher)
    verdict = "" if rival is None else f" ({describe_verdict(rival.verdict)})"
    return f"It keeps {format_retention(results, student)} % of the teacher's average score{verdict}."


def _describe_baseline(results: Results, student: ModelResult, baselines: Sequence[ModelResult]) -> str:
    """Return the averages of the strongest baseline and the student, and their difference."""
    own = average_score(results, student.id)
    best = next(iter(baselines), None)
    score = None if best is None else average_score(results, best.id)
    if best is None or own is None or score is None:
        return ""
    tasks = tuple(results.declared.tasks)
    row = results.find_comparison(student.id, best.id, AVERAGE if len(tasks) > 1 else tasks[0])
    difference = "" if row is None else f", a difference of {format_points(row.difference)} points"
    return (
        f"The strongest baseline, “{best.title}”, reaches {format_percent(score)} %, "
        f"the student {format_percent(own)} %{difference}."
    )
