"""Adapt: train the teacher on with MLM, on the language's corpus."""

from __future__ import annotations

from harness.config.amounts import Amounts, TrainingSettings
from harness.config.steps.base import EarlierModels, ResolvedStep, TrainedStep


class Adapt(TrainedStep):
    """Train the teacher on with MLM, on the language's corpus."""

    kind = "adapt"

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedAdapt:
        """Return the step with its amount of training stated."""
        return ResolvedAdapt(training=self.resolve_training(models, amounts))


class ResolvedAdapt(ResolvedStep):
    """How much and how fast the teacher is trained on."""

    kind = Adapt.kind
    training: TrainingSettings

    def describe(self) -> str:
        """Return the amount of training in words."""
        return f"MLM, {self.training.describe()}"
