"""Distill: train the student on the corpus towards an earlier model."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from harness.config.amounts import Amounts, TrainingSettings
from harness.config.losses import (
    DISTILL_LOSSES,
    LayerMap,
    LossSettings,
    describe_weights,
    find_not_of_one_layer,
    find_unalignable,
    list_losses,
)
from harness.config.steps.base import EarlierModels, ResolvedStep, TaughtStep, TrainedStep
from harness.config.values import Count, Portion, refusal


class Distill(TaughtStep, TrainedStep):
    """Train the student on the corpus towards an earlier model.

    `projection: learned` puts a trained map between hidden states of two widths; `relation_split` says into
    how many relation heads each of the teacher's heads is split. `align` compares a student and a teacher
    that read other tokens at the spans of text which both cut out: by the mean state of the tokens of a
    span, or by the state of the last. `progressive` has the layers learn one after another, those below the
    learning one at this share of the rate (Sun et al. 2020: 0.1).
    """

    kind = "distill"
    known_losses = DISTILL_LOSSES
    loss_example = "{mlm: 0.5, logit_mse: 0.5}"
    other_tokens = "distill before trim, or trim both, or add align: mean to losses of hidden states"

    positions: Literal["attended", "masked"] = "attended"
    projection: Literal["learned"] | None = None
    relation_split: Count | None = None
    align: Literal["mean", "last"] | None = None
    progressive: Portion | None = None

    @model_validator(mode="after")
    def _check(self) -> Distill:
        unalignable = self.align and find_unalignable(self.loss)
        if unalignable:
            raise refusal(unalignable)
        mixed = self.progressive is not None and find_not_of_one_layer(self.loss)
        if mixed:
            raise refusal(mixed)
        if set(self.loss) == {"mlm"}:
            raise refusal("expected a loss that looks at the teacher; mlm alone is an adapt step")
        return self

    @property
    def loss_settings(self) -> LossSettings:
        """The settings that some losses use."""
        return LossSettings(self.temperature, self.layers, self.projection is not None, self.relation_split)

    @property
    def reads_same_tokens(self) -> bool:
        """Whether the teacher reads the student's tokens, one by one."""
        return self.align is None

    def learns_from_scratch(self, models: EarlierModels) -> bool:
        """Whether random weights learn from words alone: by MLM and logits, after a `blank` step."""
        after_blank = any(earlier.kind == "blank" for earlier in models.steps)
        return after_blank and {"mlm", *list_losses("logits")}.issuperset(self.loss)

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedDistill:
        """Return the step with its amount of training stated."""
        if self.align is not None and models.share_tokens(self.teacher):
            raise refusal("align is used where teacher and student read other tokens only; remove it")
        names = {
            "teacher", "loss", "positions", "temperature", "layers", "projection", "relation_split", "align",
            "progressive",
        }  # fmt: skip
        training = self.resolve_training(models, amounts)
        steps, layers = (training.tokens or 0) // training.batch_tokens, models.current.layers
        if self.progressive is not None and training.tokens is not None and steps < layers:
            raise refusal(
                f"progressive expected a batch or more for each of {layers} layers; got {steps}; raise tokens"
            )
        return ResolvedDistill(**self.model_dump(include=names), training=training)


class ResolvedDistill(ResolvedStep):
    """The teacher, the weighted losses with their settings, and the amount of training."""

    kind = Distill.kind
    teacher: str
    loss: dict[str, float]
    positions: Literal["attended", "masked"]
    temperature: float | None = None
    layers: LayerMap | None = None
    projection: Literal["learned"] | None = None
    relation_split: int | None = None
    align: Literal["mean", "last"] | None = None
    progressive: float | None = None
    training: TrainingSettings

    def describe(self) -> str:
        """Return the teacher, the losses and the amount of training in words."""
        total = sum(self.loss.values())
        note = "" if abs(total - 1) < 1e-9 else f" (weights sum to {total:g})"
        spans = "" if self.align is None else f" at spans of text ({self.align})"
        order = "" if self.progressive is None else " layer by layer"
        losses = f"{describe_weights(self.loss)}{note}{spans}{order}"
        return f"from {self.teacher}: {losses}, {self.training.describe()}"
