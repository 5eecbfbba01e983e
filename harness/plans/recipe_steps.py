"""A recipe's steps at a scale, and their stages. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config.recipe import Recipe
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.steps.trim import ResolvedTrim
from harness.config.steps.tune import ResolvedTune
from harness.pipeline.plan import Stage
from harness.plans.data_stages import name_texts, plan_further_corpora, plan_mixed_corpus
from harness.plans.run_inputs import RunInputs
from harness.plans.stage import make_step_stage


@dataclass(frozen=True)
class TaskDistillationPlan:
    """How a student learns its tasks from an earlier model.

    Attributes:
        teacher_stage: the stage that makes the earlier model, whose fine-tuned weights teach.
        step: the losses, their settings, and the layers that the student begins with.
    """

    teacher_stage: str
    step: ResolvedTune

    @property
    def protocol(self) -> dict[str, Any]:
        """The part of the protocol that the recipe states in place of the scale."""
        step = self.step
        return {"method": step.method, "density": step.density} if step.method == "sft" else {}


@dataclass(frozen=True)
class RecipePlan:
    """A recipe's steps with every number stated, and their stages.

    Attributes:
        steps: all of them.
        distillation: how the student learns its tasks; None where it learns as all models do.
        corpora: the stages whose text the steps read besides the language's own corpus, or in its place.
        stages: a stage for each step that makes an encoder.
    """

    steps: tuple[PlannedStep, ...]
    distillation: TaskDistillationPlan | None
    corpora: tuple[Stage, ...]
    stages: tuple[Stage, ...]

    @property
    def encoders(self) -> tuple[PlannedStep, ...]:
        """The steps that make the student: all but the step by which it learns its tasks."""
        return self.steps[: len(self.stages)]


def plan_recipe(
    recipe: Recipe, inputs: RunInputs, scale: Scale, *, prefix: str = "", varied: Collection[str] = ()
) -> RecipePlan:
    """Return a recipe's steps for the inputs of a run, and their stages.

    Args:
        recipe: the steps.
        inputs: the teacher, the language and its tasks.
        scale: its numbers replace the recipe's.
        prefix: of the ids of the stages.
        varied: values of the recipe that replace the scale's, as ``distill-2.learning_rate``.

    Raises:
        UsageError: a step does not fit, or the data has no text of the recipe's source language.
    """
    steps = tuple(
        _leave_out_own_language(planned, inputs.language)
        for planned in resolve(recipe, scale, inputs.shape, varied)
    )
    mixed_corpus = plan_mixed_corpus(recipe, inputs.language, inputs.tasks, scale)
    corpus = "corpus" if mixed_corpus is None else mixed_corpus.id
    corpora = [] if mixed_corpus is None else [mixed_corpus]
    corpora += _plan_texts_of_trims(steps, inputs.language, scale)
    last, start = steps[-1].step, inputs.start
    if not isinstance(last, ResolvedTune):
        return RecipePlan(steps, None, tuple(corpora), _plan_steps(steps, start, prefix, corpus))
    distillation = TaskDistillationPlan(_name_stage(last.teacher, prefix), last)
    stages = _plan_steps(steps[:-1], start, prefix, corpus)
    return RecipePlan(steps, distillation, tuple(corpora), stages)


def _leave_out_own_language(planned: PlannedStep, language: str) -> PlannedStep:
    """Return a step without the run's language among further languages, as a recipe for many runs has it."""
    step = planned.step
    if not isinstance(step, ResolvedTrim) or language not in step.languages:
        return planned
    further = tuple(one for one in step.languages if one != language)
    return replace(planned, step=step.model_copy(update={"languages": further}))


def _plan_texts_of_trims(steps: Sequence[PlannedStep], language: str, scale: Scale) -> list[Stage]:
    """Return a stage for each set of further languages whose tokens the steps keep.

    Raises:
        UsageError: the data has no text of one of them.
    """
    trims = [planned.step for planned in steps if isinstance(planned.step, ResolvedTrim)]
    stages = [plan_further_corpora(step, language, scale) for step in trims if step.languages]
    return list({stage.id: stage for stage in stages}.values())


def _plan_steps(steps: Sequence[PlannedStep], start: str, prefix: str, corpus: str) -> tuple[Stage, ...]:
    """Return a stage for each step, named by the step's id after a prefix; all read one corpus.

    Args:
        steps: of a recipe.
        start: the stage of the model that the recipe calls its teacher.
        prefix: of the stages' ids.
        corpus: the stage of the text.
    """
    stages: list[Stage] = []
    for planned in steps:
        step = planned.step
        inputs: dict[str, str | Path] = {"model": stages[-1].id if stages else start, "corpus": corpus}
        if step.teacher is not None:
            inputs["teacher"] = start if step.teacher == TEACHER else f"{prefix}{step.teacher}"
        stages.append(make_step_stage(f"{prefix}{planned.id}", step, inputs | name_texts(step)))
    return tuple(stages)


def _name_stage(step_id: str, prefix: str) -> str:
    return step_id if step_id == TEACHER else f"{prefix}{step_id}"
