"""Fit a masked-language head to a teacher that has none, with the encoder frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.head import ResolvedHead
from harness.stages.io.artifacts import train_masked
from harness.stages.io.facts import TrainedStepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the teacher with a fitted head; every other weight stays."""
    return train_masked(context, context.get_step(ResolvedHead).training)
