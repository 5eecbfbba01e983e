"""The README of a run's student: its sizes, its scores next to the teacher's, how to load it, its origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report.card_data import list_scores, render_head
from harness.report.results import ModelResult, Results, TaskScore
from harness.report.tables import format_percent
from harness.report.templates import load_templates

_UNKNOWN = "not stated"


def render_student_card(results: Results, lineage: Mapping[str, Any]) -> str:
    """Return the card of the final student of a run.

    Invariants: every number is in the results; a number that the results lack is printed as a dash.

    Args:
        results: of the run.
        lineage: of the student's folder, as `harness.deploy.lineage.find_lineage` returns it.
    """
    student = next(model for model in reversed(results.models) if model.role == "student")
    teacher = next(model for model in results.models if model.role == "teacher")
    origin, shares = lineage["teacher"], _collect_scores(student, results)
    licence = lineage["licences"]["teacher"]
    return (
        load_templates()
        .get_template("student_card.md.j2")
        .render(
            run=results.run,
            licence=None if licence == _UNKNOWN else licence,
            head=render_head(
                name=f"{results.run.language}-{results.run.recipe}-{results.run.scale}",
                language=results.run.language,
                licence=None if licence == _UNKNOWN else licence,
                library="transformers",
                pipeline="fill-mask",
                tags=["masked-lm", "distillation"],
                base_model=origin["name"] if origin and origin.get("revision") else None,
                scores=list_scores(shares, results.run.language, lineage.get("data", {})),
            ),
            parameters=_count(student),
            sizes=[_describe(model, results) for model in (teacher, student) if model.parameters],
            scores=_compare(student, teacher, results),
            seeds=max((len(score.seeds) for score in results.scores), default=0),
            data_licences=lineage["licences"]["data"],
            steps=lineage["steps"],
        )
    )


def _collect_scores(student: ModelResult, results: Results) -> dict[str, dict[str, float]]:
    """Return the main metric of the student on each task."""
    means = {(score.task, score.metric): score.mean for score in results.scores if score.model == student.id}
    return {
        task: {metric: mean}
        for task, metric in results.declared.tasks.items()
        if (mean := means.get((task, metric))) is not None
    }


def _count(model: ModelResult) -> int:
    return sum((model.parameters or {}).values())


def _describe(model: ModelResult, results: Results) -> dict[str, Any]:
    losses = {row.model: row.loss_per_byte for row in results.held_out}
    return {
        "name": model.name,
        "parameters": _count(model),
        "size_bytes": model.size_bytes or 0,
        "loss": losses.get(model.id),
    }


def _compare(student: ModelResult, teacher: ModelResult, results: Results) -> list[dict[str, str]]:
    """Return a row a task: the main metric of the student and of the teacher."""
    scores = {(score.model, score.task, score.metric): score for score in results.scores}
    return [
        {
            "task": task,
            "metric": metric,
            "student": _format(scores.get((student.id, task, metric))),
            "teacher": _format(scores.get((teacher.id, task, metric))),
        }
        for task, metric in results.declared.tasks.items()
    ]


def _format(score: TaskScore | None) -> str:
    if score is None:
        return "–"
    if score.interval is None:
        return format_percent(score.mean)
    low, high = format_percent(score.interval.low), format_percent(score.interval.high)
    return f"{format_percent(score.mean)} ({low}–{high})"
