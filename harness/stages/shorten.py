"""Drop layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.shorten import ResolvedShorten
from harness.models.surgery import axes
from harness.stages.io.artifacts import read_model, write_step
from harness.stages.io.facts import StepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> StepFacts:
    """Write the model with the layers that the recipe keeps, in their order."""
    model, tokenizer = read_model(context)
    layers = context.get_step(ResolvedShorten).layers
    return write_step(context, axes.shorten(model, layers), tokenizer)
