"""The stages of a recipe's steps. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.steps.tune import ResolvedTune
from harness.pipeline.plan import Stage
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


class RecipeSteps(NamedTuple):
    """The steps of a recipe, by what a plan does with them.

    Attributes:
        encoders: the steps that make the student, each with a stage of its own.
        distillation: how the student learns its tasks; None where it learns as all models do.
        final: id of the last step of all, by which reports call the final student.
    """

    encoders: tuple[PlannedStep, ...]
    distillation: TaskDistillationPlan | None
    final: str


def split_steps(steps: Sequence[PlannedStep], prefix: str = "") -> RecipeSteps:
    """Separate the steps that make the student from the step by which it learns its tasks.

    Args:
        steps: of a recipe.
        prefix: of the ids of their stages.
    """
    last = steps[-1].step
    if not isinstance(last, ResolvedTune):
        return RecipeSteps(tuple(steps), None, steps[-1].id)
    distillation = TaskDistillationPlan(_name_stage(last.teacher, prefix), last)
    return RecipeSteps(tuple(steps[:-1]), distillation, steps[-1].id)


def _name_stage(step_id: str, prefix: str) -> str:
    return step_id if step_id == TEACHER else f"{prefix}{step_id}"


def plan_steps(steps: Sequence[PlannedStep], prefix: str = "", corpus: str = "corpus") -> list[Stage]:
    """Return a stage for each step, named by the step's id after a prefix; all read one corpus."""
    stages: list[Stage] = []
    for planned in steps:
        step = planned.step
        inputs: dict[str, str | Path] = {"model": stages[-1].id if stages else TEACHER, "corpus": corpus}
        if step.teacher is not None:
            inputs["teacher"] = _name_stage(step.teacher, prefix)
        config = {**step.to_config(), "held_out_length": HELD_OUT_LENGTH}
        stages.append(make_stage(f"{prefix}{planned.id}", step.kind, config, inputs, step))
    return stages
