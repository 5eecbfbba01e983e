"""Continue the teacher's pre-training (masked-language modelling) on the language's own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.adapt import ResolvedAdapt
from harness.stages.io.artifacts import train_masked
from harness.stages.io.facts import TrainedStepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the adapted model; its shape stays."""
    return train_masked(context, context.get_step(ResolvedAdapt).training)
