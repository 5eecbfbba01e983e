"""A recipe's steps at a scale, and their stages. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.recipe import Recipe
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.steps.tune import ResolvedTune
from harness.pipeline.plan import Stage
from harness.plans.data_stages import plan_mixed_corpus
from harness.plans.run_inputs import RunInputs
from harness.plans.stage import make_stage

HELD_OUT_LENGTH = 128
"""Tokens of the sequences on which the held-out loss of every step's model is measured."""


@dataclass(frozen=True)
class TaskDistillationPlan:
    """How a student learns its tasks from an earlier model.

    Attributes:
        teacher_stage: the stage that makes the earlier model, whose fine-tuned weights of the first seed
            teach.
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
        mixed_corpus: the stage whose text the steps read; None where they read the language's own corpus.
        stages: a stage for each step that makes an encoder.
    """

    steps: tuple[PlannedStep, ...]
    distillation: TaskDistillationPlan | None
    mixed_corpus: Stage | None
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
    steps = resolve(recipe, scale, inputs.shape, varied)
    mixed_corpus = plan_mixed_corpus(recipe, inputs.language, inputs.tasks, scale)
    corpus = "corpus" if mixed_corpus is None else mixed_corpus.id
    last = steps[-1].step
    if not isinstance(last, ResolvedTune):
        return RecipePlan(steps, None, mixed_corpus, _plan_steps(steps, prefix, corpus))
    distillation = TaskDistillationPlan(_name_stage(last.teacher, prefix), last)
    return RecipePlan(steps, distillation, mixed_corpus, _plan_steps(steps[:-1], prefix, corpus))


def _plan_steps(steps: Sequence[PlannedStep], prefix: str, corpus: str) -> tuple[Stage, ...]:
    """Return a stage for each step, named by the step's id after a prefix; all read one corpus."""
    stages: list[Stage] = []
    for planned in steps:
        step = planned.step
        inputs: dict[str, str | Path] = {"model": stages[-1].id if stages else TEACHER, "corpus": corpus}
        if step.teacher is not None:
            inputs["teacher"] = _name_stage(step.teacher, prefix)
        config = {**step.to_config(), "held_out_length": HELD_OUT_LENGTH}
        stages.append(make_stage(f"{prefix}{planned.id}", step.kind, config, inputs, step))
    return tuple(stages)


def _name_stage(step_id: str, prefix: str) -> str:
    return step_id if step_id == TEACHER else f"{prefix}{step_id}"
