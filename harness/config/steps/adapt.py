"""Adapt: train the teacher on with MLM, on the language's corpus."""

from __future__ import annotations

from harness.config.amounts import Amounts, TrainingSettings
from harness.config.steps.base import EarlierModels, ResolvedStep, TrainedStep
from harness.config.values import Share


class Adapt(TrainedStep):
    """Train the teacher on with MLM, on the language's corpus.

    With `density` all weights are trained, and then, from the start again, the share of them that had moved
    most (Ansell et al. 2022).
    """

    kind = "adapt"
    density: Share | None = None

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedAdapt:
        """Return the step with its amount of training stated."""
        return ResolvedAdapt(training=self.resolve_training(models, amounts), density=self.density)


class ResolvedAdapt(ResolvedStep):
    """How much and how fast the teacher is trained on."""

    kind = Adapt.kind
    training: TrainingSettings
    density: float | None = None

    def describe(self) -> str:
        """Return the amount of training in words."""
        sparse = f", {self.density:g} of the weights" if self.density is not None else ""
        return f"MLM, {self.training.describe()}{sparse}"
