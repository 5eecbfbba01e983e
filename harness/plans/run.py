"""The plan of a run: language, recipe and scale become stages. Imports no torch.

`plan_run` resolves the inputs and the recipe's steps, chooses the models to score, and chains the stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from harness.baselines import TRIMMED_TITLE, select_baselines
from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.steps.base import TEACHER, PlannedStep
from harness.pipeline.plan import Plan, Stage
from harness.plans.data_stages import LanguageTasks
from harness.plans.evaluation import (
    TEACHER_MODEL,
    EvaluatedModel,
    compare_with,
    evaluate_baseline,
    plan_baselines,
    plan_comparison,
    plan_scores,
)
from harness.plans.exports import UNTUNED, plan_export, plan_latency, plan_package, plan_precisions
from harness.plans.recipe_steps import RecipePlan, plan_recipe
from harness.plans.run_inputs import RunInputs, SharedInputs, plan_inputs
from harness.plans.stage import make_stage
from harness.precisions import FP32

STUDENT = "student"
"""The role of the final student in exports."""


@dataclass(frozen=True)
class RunPlan:
    """A run before it has begun.

    Attributes:
        plan: its stages.
        steps: the recipe's steps with every number stated.
        scored: the models that are scored, in the report's order; all of the report's where none is.
        tasks: those scored: of the scale's those that the data has, then the others of a data folder.
        missing_tasks: tasks of the scale that the data does not have, with the reason.
        exported: the heads of the student's exports: the tasks, or its own heads where nothing is scored.
    """

    plan: Plan
    steps: tuple[PlannedStep, ...]
    scored: tuple[EvaluatedModel, ...]
    tasks: tuple[str, ...]
    missing_tasks: Mapping[str, str]
    exported: tuple[str, ...]

    @property
    def student(self) -> str:
        """The stage that makes the final student."""
        return next(step.id for step in reversed(self.steps) if step.kind != "tune")


def plan_run(language: str, recipe: Recipe, scale: Scale, shared: SharedInputs | None = None) -> RunPlan:
    """Return the plan of a run.

    Args:
        language: code.
        recipe: how.
        scale: how much.
        shared: what several plans share, so that it is read and planned once.

    Raises:
        UsageError: the language, or something in recipe or scale, does not exist or does not fit.
        HarnessError: a folder that should be read does not exist.
    """
    shared = shared or SharedInputs()
    inputs = plan_inputs(language, recipe, scale, shared)
    steps = plan_recipe(recipe, inputs, scale)
    tasks = LanguageTasks((), (), {}) if scale.score.models == "none" else inputs.tasks
    models = _choose_models(steps, tasks.scored, scale)
    report = _describe_run(recipe, inputs.language, tasks, models, scale)
    stages = _chain_stages(inputs, steps, tasks.scored, models, scale)
    stages += _plan_exports(recipe, inputs.language, tasks.scored, models, scale)
    stages.append(make_stage("report", "report", report, {stage.id: stage.id for stage in stages}))
    return RunPlan(
        Plan(stages, shared.digests),
        steps.steps,
        models.evaluated,
        tasks.scored,
        tasks.missing,
        tasks.scored or UNTUNED,
    )


class _ChosenModels(NamedTuple):
    """The models of a report.

    Attributes:
        described: all of them, in the report's order; the final student is the last student.
        unscored: ids of the models that are described without scores, where others are scored.
        final: id of the final student.
        trim: the step by which a baseline trims the teacher; None where there is no such baseline.
        trimmed: id of the recipe's own model that is the trimmed teacher; None where there is none.
    """

    described: tuple[EvaluatedModel, ...]
    unscored: tuple[str, ...]
    final: str
    trim: PlannedStep | None
    trimmed: str | None

    @property
    def evaluated(self) -> tuple[EvaluatedModel, ...]:
        """The models that are scored; all where nothing is."""
        return tuple(model for model in self.described if model.id not in self.unscored)

    @property
    def student(self) -> str:
        """The stage that makes the final student."""
        return next(model.stage for model in self.described if model.id == self.final)


def _choose_models(steps: RecipePlan, tasks: Sequence[str], scale: Scale) -> _ChosenModels:
    """Choose the teacher, the model of every step that no distillation follows, and the scale's baselines.

    Where the scale scores the final student alone, the models in between are described without scores, but
    for the model of a first step that trims: it is the trimmed teacher.
    """
    encoders, final = steps.encoders, steps.steps[-1].id
    shown = [step.id for step, after in pairwise(encoders) if after.kind != "distill"]
    if steps.distillation is not None:
        shown.append(encoders[-1].id)
    trimmed = encoders[0].id if encoders[0].kind == "trim" else None
    if scale.score.models == "final" and trimmed is not None and trimmed not in (*shown, final):
        shown.insert(0, trimmed)
    titles = {} if trimmed is None else {trimmed: TRIMMED_TITLE}
    students = [EvaluatedModel(name, titles.get(name, name), "student", name) for name in shown]
    students.append(EvaluatedModel(final, f"{final} (final student)", "student", encoders[-1].id))
    # A recipe whose first step trims has the trimmed teacher among its own models.
    trim = next((step for step in encoders[1:] if step.kind == "trim"), None)
    rows = select_baselines(scale.score.choose_baselines()) if tasks else []
    if trim is None:
        rows = [row for row in rows if row.made_by != "trim"]
    baselines = [evaluate_baseline(row, tasks) for row in rows]
    unscored = [name for name in shown if name != trimmed] if scale.score.models == "final" else []
    described = (TEACHER_MODEL, *students, *baselines)
    return _ChosenModels(described, tuple(unscored) if tasks else (), final, trim, trimmed)


def _describe_run(
    recipe: Recipe, language: str, tasks: LanguageTasks, models: _ChosenModels, scale: Scale
) -> dict[str, Any]:
    """Return what the report states of the run."""
    described = {
        "language": language,
        "recipe": recipe.name,
        "recipe_source": recipe.source,
        "scored": [vars(model) for model in models.described],
        "tasks": list(tasks.scored),
        "missing_tasks": dict(tasks.missing),
        **make_report_header(scale),
    }
    return described | ({"unscored": list(models.unscored)} if models.unscored else {})


def _chain_stages(
    inputs: RunInputs, steps: RecipePlan, tasks: Sequence[str], models: _ChosenModels, scale: Scale
) -> list[Stage]:
    """Return the stages up to the comparison of scores, each after the stages that it reads."""
    evaluated, final = models.evaluated, models.final
    stages = [*inputs.stages, *steps.corpora, *steps.stages]
    stages += plan_baselines(
        evaluated,
        scale,
        start=inputs.start,
        student=steps.stages[-1].id,
        trim=models.trim,
        trimmed=models.trimmed,
    )
    if not tasks:
        return stages
    distillations = {} if steps.distillation is None else {final: steps.distillation}
    stages += plan_scores(evaluated, tasks, scale, kept=(TEACHER, final), distillations=distillations)
    pairs = compare_with(evaluated, TEACHER)
    pairs += [(final, model.id) for model in evaluated if model.role == "baseline"]
    stages.append(plan_comparison(evaluated, tasks, pairs))
    return stages


def _plan_exports(
    recipe: Recipe, language: str, tasks: Sequence[str], models: _ChosenModels, scale: Scale
) -> list[Stage]:
    """Return the stages that export the teacher and the student for each task, or the student's own heads."""
    name = f"{recipe.name}-{scale.name}"
    students = {task: f"score.{task}.{models.final}" for task in tasks} or dict.fromkeys(
        UNTUNED, models.student
    )
    packages = [
        stage
        for task, model in students.items()
        for stage in plan_package(STUDENT, model, task, scale, language=language, name=name)
    ]
    exports = [plan_export(STUDENT, model, task, scale) for task, model in students.items()]
    if not tasks:
        return [*exports, *packages]
    teachers = [plan_export(TEACHER, f"score.{task}.{TEACHER}", task, scale) for task in tasks]
    stages = [stage for pair in zip(teachers, exports, strict=True) for stage in pair]
    if scale.export.precisions:
        stages.append(plan_precisions(STUDENT, tasks, scale))
    return [*stages, plan_latency((TEACHER, STUDENT), tasks, scale), *packages]


def make_report_header(scale: Scale) -> dict[str, Any]:
    """Return what a report states of its scale; of a teacher's folder no other key holds the name."""
    header: dict[str, Any] = {
        "scale": scale.name,
        "data": scale.corpus.source,
        "precisions": [FP32] if scale.export.quantize == "none" else [FP32, scale.export.quantize],
    }
    if scale.teacher.folder is not None and scale.teacher.origin is None:
        header["teacher"] = Path(scale.teacher.folder).resolve().name
    return header


def reads_hub(stage: Stage) -> bool:
    """Whether a stage downloads; such a stage reads no other stage."""
    config = stage.config
    return "hub" in (config.get("source"), config.get("tasks_source")) or "hub_id" in config
