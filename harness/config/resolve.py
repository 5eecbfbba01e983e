"""A recipe, a scale and a teacher's shape make concrete steps; the whole is checked before anything runs."""

from __future__ import annotations

from collections.abc import Collection

from pydantic_core import PydanticCustomError

from harness.config.recipe import Recipe, WrittenStep, build_step
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, PlannedStep, TaughtStep, check_family, check_teacher
from harness.config.values import refusal
from harness.errors import UsageError


def resolve(
    recipe: Recipe, scale: Scale, shape: Shape, varied: Collection[str] = ()
) -> tuple[PlannedStep, ...]:
    """Return the recipe's steps for a teacher of one shape, at one scale.

    Invariants: every ratio is of the *teacher's* number; a step's shape is what the step makes of the shape
    before it; a step that trains leaves the shape as it is.

    Args:
        recipe: the steps.
        scale: its numbers replace the recipe's.
        shape: of the teacher.
        varied: values of the recipe that replace the scale's, as ``distill-2.learning_rate``.

    Raises:
        UsageError: a step would leave no layer, head, neuron or token, asks for more than there is, names a
            teacher that is no earlier step or does not fit, or lacks a number that neither file states.
    """
    steps: tuple[PlannedStep, ...] = ()
    for index, written in enumerate(recipe.steps):
        models, is_last = EarlierModels(shape, steps), index == len(recipe.steps) - 1
        try:
            steps = (*steps, _resolve_step(written, models, scale, varied, is_last=is_last))
        except PydanticCustomError as error:
            place = f"{recipe.name}: steps[{index}].{written.kind}"
            raise UsageError(f"{place}: {error.message()}") from None
    return steps


def _resolve_step(
    written: WrittenStep, models: EarlierModels, scale: Scale, varied: Collection[str], *, is_last: bool
) -> PlannedStep:
    step = build_step(written, models.teacher.family)
    if not step.makes_encoder and not (is_last and models.steps):
        raise refusal("expected it last, after the steps that make the student; move it there")
    check_family(step, models.current.family)
    if isinstance(step, TaughtStep):
        check_teacher(step, models)
    from_scratch = step.learns_from_scratch(models)
    own = {name.removeprefix(f"{written.id}.") for name in varied if name.startswith(f"{written.id}.")}
    amounts = scale.choose_amounts(written.id, step.kind, from_scratch=from_scratch, varied=own)
    resolved = step.resolve(models, amounts)
    return PlannedStep(written.id, resolved, resolved.change_shape(models.current))
