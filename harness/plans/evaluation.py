"""The stages that score models and baselines, and compare them. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.baselines import Baseline, select_baselines
from harness.config.scale import Scale
from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.steps.tune import ResolvedTune
from harness.errors import UsageError
from harness.pipeline.plan import Stage
from harness.stages.table import KINDS

ROLE_FINAL = "student"
HELD_OUT_LENGTH = 128
RUNTIME_ONLY_SETTINGS = ("activation_checkpointing",)
"""Settings that change what a training takes and not what comes of it."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model whose scores the report shows.

    Attributes:
        id: what the report calls it.
        name: what its tables call it.
        role: ``teacher``, ``student`` or ``baseline``.
        stage: the stage that makes it.
        kind: the kind of stage that scores it.
    """

    id: str
    name: str
    role: str
    stage: str
    kind: str = "score"


def make_stage(
    id: str,  # noqa: A002
    kind: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str | Path],
    step: object = None,
) -> Stage:
    """Return a stage of its kind's present version; settings that no output depends on are its means."""
    means = {name: config[name] for name in RUNTIME_ONLY_SETTINGS if name in config}
    own = {name: value for name, value in config.items() if name not in means}
    return Stage(
        id=id, kind=kind, version=KINDS[kind].version, config=own, inputs=inputs, means=means, step=step
    )


def choose_models(
    steps: Sequence[PlannedStep], scale: Scale, tasks: Sequence[str]
) -> tuple[EvaluatedModel, ...]:
    """Gives the teacher, every step's model unless the next step only repairs it, and the baselines."""
    models = [EvaluatedModel(TEACHER, "teacher", "teacher", TEACHER)]
    own = encoder_steps(steps)
    for step, after in zip(own, [*own[1:], None], strict=True):
        if after is None or after.kind != "distill":
            models.append(EvaluatedModel(step.id, step.id, "student", step.id))
    if plan_task_distillation(steps) is None:
        models.pop()
    last = steps[-1].id
    models.append(EvaluatedModel(last, f"{last} (final student)", ROLE_FINAL, own[-1].id))
    return (*models, *_baselines(own, scale, tasks))


def encoder_steps(steps: Sequence[PlannedStep]) -> list[PlannedStep]:
    """Gives the steps that make the student: all but how it learns a task."""
    return [step for step in steps if step.kind != "tune"]


@dataclass(frozen=True)
class TaskDistillationPlan:
    """How a student learns its tasks from an earlier model.

    Attributes:
        teacher: the earlier model; its weights of the first seed, fine-tuned on the task, teach.
        step: the losses, their settings, and the layers that the student begins with.
    """

    teacher: EvaluatedModel
    step: ResolvedTune

    @property
    def protocol(self) -> dict[str, Any]:
        """What the recipe states of the protocol, in place of the scale."""
        step = self.step
        return {"method": step.method, "density": step.density} if step.method == "sft" else {}


def plan_task_distillation(steps: Sequence[PlannedStep], prefix: str = "") -> TaskDistillationPlan | None:
    """Return how a recipe's student learns its tasks; None where it learns as all models do."""
    step = steps[-1].step
    if not isinstance(step, ResolvedTune):
        return None
    if step.teacher == TEACHER:
        return TaskDistillationPlan(EvaluatedModel(TEACHER, "teacher", "teacher", TEACHER), step)
    teacher = f"{prefix}{step.teacher}"
    return TaskDistillationPlan(EvaluatedModel(teacher, step.teacher, "student", teacher), step)


def score_models(
    scored: Sequence[EvaluatedModel],
    scale: Scale,
    tasks: Sequence[str],
    *,
    kept: Collection[str],
    distillations: Mapping[str, TaskDistillationPlan],
) -> list[Stage]:
    """Gives a stage for each task and model, and for each model that teaches another a task.

    Args:
        scored: the models whose scores are shown.
        scale: its protocol is every model's.
        tasks: their names.
        kept: of which models the first seed's weights are kept.
        distillations: by the id of the model that has one.
    """
    taught = {distillation.teacher.id: distillation.teacher for distillation in distillations.values()}
    models = {**taught, **{one.id: one for one in scored}}
    return [
        plan_score(
            one,
            task,
            scale,
            one.stage,
            keep=one.id in {*kept, *taught},
            distillation=distillations.get(one.id),
        )
        for task in tasks
        for one in models.values()
    ]


def _baselines(steps: Sequence[PlannedStep], scale: Scale, tasks: Sequence[str]) -> list[EvaluatedModel]:
    """Gives the scale's baselines; the trimmed teacher only where the recipe trims a student."""
    rows = select_baselines(scale.score.baselines)
    if not tasks:
        rows = [row for row in rows if row.made_by == "random"]
    if _trim_step(steps) is None:
        rows = [row for row in rows if row.made_by != "trim"]
    return [evaluate_baseline(row, tasks) for row in rows]


def evaluate_baseline(row: Baseline, tasks: Sequence[str]) -> EvaluatedModel:
    """Return a baseline of a run; one without a model is made where the first task is scored."""
    stage = row.id if row.made_by else f"score.{tasks[0]}.{row.id}"
    return EvaluatedModel(row.id, row.title, "baseline", stage, row.kind)


def _trim_step(steps: Sequence[PlannedStep]) -> PlannedStep | None:
    """Gives the recipe's trimming, unless it comes first and its model is the trimmed teacher already."""
    return next((step for step in steps[1:] if step.kind == "trim"), None)


def baseline_stages(
    steps: Sequence[PlannedStep], scale: Scale, scored: Sequence[EvaluatedModel]
) -> list[Stage]:
    """Gives the stages that make the baselines that are models."""
    expected = {model.id for model in scored}
    stages = []
    for role, source in ((TEACHER, TEACHER), ("student", steps[-1].id)):
        if f"random-{role}" in expected:
            stages.append(make_stage(f"random-{role}", "random", {"seed": scale.seed}, {"model": source}))
    trim = _trim_step(steps)
    if trim is not None and "trimmed-teacher" in expected:
        config = {**trim.step.to_config(), "held_out_length": HELD_OUT_LENGTH}
        stages.append(
            make_stage("trimmed-teacher", "trim", config, {"model": TEACHER, "corpus": "corpus"}, trim.step)
        )
    if "static" in expected:
        stages.append(make_stage("static", "static", {}, {"model": TEACHER}))
    return stages


def final_of(scored: Sequence[EvaluatedModel]) -> str:
    """Gives the id of the model the recipe makes."""
    return [model.id for model in scored if model.role == ROLE_FINAL][-1]


def score_stages(
    scored: Sequence[EvaluatedModel],
    scale: Scale,
    tasks: Sequence[str],
    distillation: TaskDistillationPlan | None,
) -> list[Stage]:
    """Gives a stage for each task and model, and the one that compares them.

    Every model is compared with the teacher, and the final student with all baselines.
    """
    final = final_of(scored)
    distillations = {} if distillation is None else {final: distillation}
    stages = score_models(scored, scale, tasks, kept=(TEACHER, final), distillations=distillations)
    beside = [model.id for model in scored if model.role == "baseline"]
    pairs = [(model.id, TEACHER) for model in scored if model.id != TEACHER]
    pairs += [(final, other) for other in beside]
    return [*stages, plan_comparison([model.id for model in scored], tasks, pairs)]


def plan_score(
    model: EvaluatedModel,
    task: str,
    scale: Scale,
    source: str | Path,
    *,
    keep: bool = False,
    distillation: TaskDistillationPlan | None = None,
) -> Stage:
    """Gives the stage that scores one model on one task, which it may learn from another model's stage."""
    name = f"score.{task}.{model.id}"
    if model.kind == "majority":
        return make_stage(name, "majority", {"task": task}, {"tasks": "tasks"})
    if model.kind == "linear":
        read = {"tasks": "tasks"} | ({"static": source} if model.id == "static" else {})
        return make_stage(name, "linear", {"task": task, "features": model.id}, read)
    protocol = {
        **scale.score.for_task(task),
        "max_length": scale.sequence_length,
        "precision": scale.precision,
    }
    if keep and protocol.get("method") == "adapter":
        raise UsageError(
            f"score: {task}: expected method full or lora where models are exported; got adapter, which "
            "no stock class holds; use `harness score`, which exports none"
        )
    config = {"task": task, "seeds": list(scale.score.seeds), "protocol": protocol, "keep_model": keep}
    inputs: dict[str, str | Path] = {"model": source, "tasks": "tasks"}
    if distillation is not None:
        method = protocol.get("method", "full")
        if method != "full":
            raise UsageError(
                f"score: {task}: expected method full where a recipe has a tune step; got {method}; "
                "set it in the scale, or leave the step out"
            )
        config["protocol"] = protocol | distillation.protocol
        config["lesson"] = distillation.step.to_config()
        inputs["teacher"] = f"score.{task}.{distillation.teacher.id}"
    return make_stage(name, "score", config, inputs, distillation.step if distillation else None)


def plan_comparison(models: Sequence[str], tasks: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Stage:
    """Gives the stage that compares pairs of models on each task and over all of them."""
    config = {"models": list(models), "tasks": list(tasks), "pairs": [list(pair) for pair in pairs]}
    inputs = {name: name for task in tasks for model in models if (name := f"score.{task}.{model}")}
    return make_stage("compare", "compare", config, inputs)
