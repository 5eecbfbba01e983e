"""How much a step trains or reads: the numbers of recipe and scale together, every one stated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.config.values import Count, Portion, Rate, Share, Strict
from harness.units import format_count

Precision = Literal["fp32", "bf16", "auto"]


class TrainingAmounts(Strict):
    """The numbers that a scale states for a step in place of the recipe's own."""

    tokens: Count | None = None
    learning_rate: Rate | None = None
    batch_tokens: Count | None = None
    mask_fraction: Share | None = None
    warmup_fraction: Portion | None = None
    dropout: Portion | None = None


@dataclass(frozen=True)
class Amounts:
    """What a scale states for one step.

    Attributes:
        scale: the scale's name, for messages.
        sequence_length: tokens of the longest sequence.
        precision: ``fp32``, ``bf16`` or ``auto``.
        seed: of everything that is drawn.
        training: the scale's numbers for this step, which replace the step's own.
        device_tokens: the most tokens that go through a model at once; None: no bound.
        activation_checkpointing: whether layers recompute their inner states in the backward pass.
        reference_vocabulary: a teacher with fewer tokens than this keeps the share of its tokens that the
            recipe's number is of this many; None: numbers of tokens are absolute.
    """

    scale: str
    sequence_length: int
    precision: Precision
    seed: int
    training: TrainingAmounts = field(default_factory=TrainingAmounts)
    device_tokens: int | None = None
    activation_checkpointing: bool = False
    reference_vocabulary: int | None = None

    @property
    def stated(self) -> dict[str, float | int]:
        """The scale's numbers for this step, by name."""
        return self.training.model_dump(exclude_none=True)

    @property
    def shared(self) -> dict[str, Any]:
        """What the scale states for every step."""
        names = ("sequence_length", "precision", "seed", "device_tokens", "activation_checkpointing")
        return {name: getattr(self, name) for name in names}


class Settings(Strict):
    """Settings with every number stated, which a stage receives as an object and its key as JSON."""

    def to_config(self) -> dict[str, Any]:
        """Return the settings as JSON types: one table, without what is at its default."""
        config: dict[str, Any] = {}
        written = self.model_dump(mode="json")
        for name, field_info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                config |= value.to_config()
            elif field_info.is_required() or value != field_info.default:
                config[name] = written[name]
        return config


class TextSettings(Settings):
    """How much of the language's text a step reads in order to score or fit a model."""

    tokens: int
    batch_tokens: int
    mask_fraction: float
    sequence_length: int
    precision: Precision
    seed: int
    device_tokens: int | None = None
    activation_checkpointing: bool = False


class TrainingSettings(Settings):
    """How much and how fast a step trains: a number of `tokens`, or of `epochs` over the text."""

    tokens: int | None = None
    epochs: int | None = None
    learning_rate: float
    batch_tokens: int
    mask_fraction: float
    warmup_fraction: float
    sequence_length: int
    precision: Precision
    seed: int
    device_tokens: int | None = None
    activation_checkpointing: bool = False
    dropout: float | None = None
    mask_smoothing: float | None = None
    text_fraction: float | None = None
    freeze: tuple[str, ...] | None = None

    def describe(self) -> str:
        """Return the amount in words, as ``1,600 tokens``."""
        return f"{self.epochs} epochs" if self.tokens is None else f"{format_count(self.tokens)} tokens"
