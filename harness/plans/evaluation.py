"""The stages that score models and baselines, and compare them. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.baselines import Baseline
from harness.config.scale import Scale
from harness.config.steps.base import TEACHER, PlannedStep
from harness.errors import UsageError
from harness.pipeline.plan import Stage
from harness.plans.data_stages import name_texts
from harness.plans.recipe_steps import TaskDistillationPlan
from harness.plans.stage import make_stage, make_step_stage


@dataclass(frozen=True)
class EvaluatedModel:
    """A model whose scores the report shows.

    Attributes:
        id: its name in the report.
        name: its name in the report's tables.
        role: ``teacher``, ``student`` or ``baseline``.
        stage: the stage that makes it.
        kind: the kind of stage that scores it.
    """

    id: str
    name: str
    role: str
    stage: str
    kind: str = "score"


TEACHER_MODEL = EvaluatedModel(TEACHER, "teacher", "teacher", TEACHER)


def evaluate_baseline(row: Baseline, tasks: Sequence[str]) -> EvaluatedModel:
    """Return a baseline of a run; one without a model is made where the first task is scored."""
    stage = row.id if row.made_by else f"score.{tasks[0]}.{row.id}"
    return EvaluatedModel(row.id, row.title, "baseline", stage, row.kind)


def plan_baselines(
    models: Sequence[EvaluatedModel],
    scale: Scale,
    *,
    start: str = TEACHER,
    student: str | None = None,
    trim: PlannedStep | None = None,
    trimmed: str | None = None,
) -> list[Stage]:
    """Return the stages that make the baselines that are models.

    Static embeddings come from the trimmed teacher where there is one: a language needs the vectors of a
    few thousand tokens, and the teacher has a quarter of a million.

    Args:
        models: the evaluated models, baselines among them.
        scale: for the seed.
        start: the stage of the teacher with its masked-language head.
        student: the stage of the student whose shape a baseline has.
        trim: the step by which a baseline trims the teacher.
        trimmed: the stage of the recipe's own trimmed teacher.
    """
    ids = {model.id for model in models}
    stages = []
    for name, source in (("random-teacher", TEACHER), ("random-student", student)):
        if name in ids and source is not None:
            stages.append(make_stage(name, "random", {"seed": scale.seed}, {"model": source}))
    if "trimmed-teacher" in ids and trim is not None:
        trimmed = "trimmed-teacher"
        inputs: dict[str, str | Path] = {"model": start, "corpus": "corpus", **name_texts(trim.step)}
        stages.append(make_step_stage(trimmed, trim.step, inputs))
    if "static" in ids:
        stages.append(make_stage("static", "static", {}, {"model": trimmed or TEACHER}))
    return stages


def plan_scores(
    models: Sequence[EvaluatedModel],
    tasks: Sequence[str],
    scale: Scale,
    *,
    kept: Collection[str],
    distillations: Mapping[str, TaskDistillationPlan],
) -> list[Stage]:
    """Return a stage for each task and model, and for each model that teaches another a task.

    Args:
        models: the evaluated models.
        tasks: their names.
        scale: its protocol is every model's.
        kept: ids of the models whose weights of the first seed are kept.
        distillations: how a model learns its tasks from another model, by the id of the former.
    """
    teachers = {name: _evaluate_teacher(name) for name in (d.teacher_stage for d in distillations.values())}
    teach_all = {d.teacher_stage for d in distillations.values() if d.step.teachers == "all"}
    by_id = {**teachers, **{model.id: model for model in models}}
    return [
        plan_score(
            model,
            task,
            scale,
            model.stage,
            keep=name in {*kept, *teachers},
            keep_all=name in teach_all,
            distillation=distillations.get(name),
        )
        for task in tasks
        for name, model in by_id.items()
    ]


def _evaluate_teacher(stage: str) -> EvaluatedModel:
    return EvaluatedModel(stage, stage, "student", stage)


def plan_score(
    model: EvaluatedModel,
    task: str,
    scale: Scale,
    source: str | Path,
    *,
    keep: bool = False,
    keep_all: bool = False,
    distillation: TaskDistillationPlan | None = None,
) -> Stage:
    """Return the stage that scores a model on a task, which the model may learn from another model.

    Args:
        model: to be scored.
        task: its name.
        scale: its protocol is every model's.
        source: the stage or the folder of the model.
        keep: whether the fine-tuned weights of the first seed are kept.
        keep_all: whether those of the other seeds are kept too.
        distillation: how the model learns the task from another one; None: as every model does.

    Raises:
        UsageError: the scale's method cannot be exported, or cannot be combined with a tune step.
    """
    name = f"score.{task}.{model.id}"
    if model.kind == "majority":
        return make_stage(name, "majority", {"task": task}, {"tasks": "tasks"})
    if model.kind == "linear":
        read = {"tasks": "tasks"} | ({"static": source} if model.id == "static" else {})
        return make_stage(name, "linear", {"task": task, "features": model.id}, read)
    protocol = _choose_protocol(task, scale, keep=keep, distillation=distillation)
    config = {"task": task, "seeds": list(scale.score.seeds), "protocol": protocol, "keep_model": keep}
    if keep_all:
        config["keep_all_seeds"] = True
    inputs: dict[str, str | Path] = {"model": source, "tasks": "tasks"}
    if distillation is None:
        return make_stage(name, "score", config, inputs)
    config["lesson"] = distillation.step.to_config()
    if distillation.step.text is not None:
        config["text"] = _choose_text_tuning(protocol, scale)
        inputs["corpus"] = "corpus"
    inputs["teacher"] = f"score.{task}.{distillation.teacher_stage}"
    return make_stage(name, "score", config, inputs, distillation.step)


def _choose_text_tuning(protocol: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """Return how long and how fast a student learns from labelled text."""
    stated = scale.score.text.model_dump(exclude_none=True)
    rates = protocol.get("learning_rates") or [protocol["learning_rate"]]
    return {"learning_rate": rates[0], **stated}


def _choose_protocol(
    task: str, scale: Scale, *, keep: bool, distillation: TaskDistillationPlan | None
) -> dict[str, Any]:
    """Return the scale's protocol of a task with the recipe's part in its place."""
    protocol = {
        **scale.score.for_task(task),
        "max_length": scale.sequence_length,
        "precision": scale.precision,
    }
    method = protocol.get("method", "full")
    if keep and method == "adapter":
        raise UsageError(
            f"score: {task}: expected method full or lora where models are exported; got adapter, which "
            "no stock class holds; use `harness score`, which exports none"
        )
    if distillation is None:
        return protocol
    if method != "full":
        raise UsageError(
            f"score: {task}: expected method full where a recipe has a tune step; got {method}; "
            "set it in the scale, or leave the step out"
        )
    return protocol | distillation.protocol


def plan_comparison(
    models: Sequence[EvaluatedModel], tasks: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Stage:
    """Return the stage that compares pairs of models, by id, on each task and over all tasks."""
    ids = [model.id for model in models]
    config = {"models": ids, "tasks": list(tasks), "pairs": [list(pair) for pair in pairs]}
    inputs = {name: name for task in tasks for model in ids if (name := f"score.{task}.{model}")}
    return make_stage("compare", "compare", config, inputs)


def compare_with(models: Sequence[EvaluatedModel], reference: str) -> list[tuple[str, str]]:
    """Return the pair of each model with a reference, but of the reference with itself."""
    return [(model.id, reference) for model in models if model.id != reference]
