"""The training of a multilingual teacher, from random weights on many languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import field_validator, model_validator

from harness.config.amounts import Amounts, Settings, TrainingSettings
from harness.config.shape import Shape
from harness.config.values import Count, Portion, Rate, Share, Strict, describe_unknown, refusal
from harness.families import FAMILIES, list_families


class ShallowStart(Strict):
    """Training that begins with a few layers; the others are stacked on later (`models.surgery.stacking`)."""

    layers: Count
    tokens: Count
    learning_rate: Rate


class Pretrain(Strict):
    """A teacher trained here, from random weights, on many languages."""

    family: str
    layers: Count
    hidden: Count
    heads: Count
    ffn: Count
    vocabulary: Count
    positions: Count
    languages: Literal["all"] | tuple[str, ...]
    lines: Count | None = None
    tokens: Count
    learning_rate: Rate
    batch_tokens: Count
    mask_fraction: Share
    warmup_fraction: Portion
    sequence_length: Count
    dropout: Portion | None = None
    smoothing: Portion
    tokenizer_characters: Count
    shallow: ShallowStart | None = None
    embeddings: Literal["random", "cooccurrence"] | None = None
    attention: Literal["random", "neighbours"] | None = None

    @field_validator("languages", mode="before")
    @classmethod
    def _read_languages(cls, value: Any) -> Any:
        if value == "all":
            return value
        if isinstance(value, list | tuple) and value and all(isinstance(code, str) for code in value):
            return tuple(value)
        raise refusal(f"expected 'all' or language codes, as [mt, sk]; got '{value}'")

    @model_validator(mode="after")
    def _check(self) -> Pretrain:
        if self.family not in (trained := list_families("pretrain")):
            raise refusal(describe_unknown("model family", self.family, trained))
        if self.hidden % self.heads:
            raise refusal(f"hidden {self.hidden} is no multiple of the {self.heads} heads")
        if self.attention == "neighbours" and (self.heads < 2 or self.hidden // self.heads % 2):
            raise refusal(
                f"attention: neighbours: expected two heads or more of an even size; got {self.heads} "
                f"of {self.hidden // self.heads}; change hidden or heads, or take random"
            )
        if self.shallow and self.layers % self.shallow.layers:
            raise refusal(
                f"shallow: {self.layers} layers are no multiple of {self.shallow.layers}; change one"
            )
        if self.sequence_length > self.shape.max_length:
            raise refusal(
                f"sequence_length {self.sequence_length} is above what {self.positions} positions "
                f"hold ({self.shape.max_length}); lower it, or add positions"
            )
        return self

    @property
    def shape(self) -> Shape:
        """The shape of the teacher, with as many token types as its family has."""
        own = self.model_dump(include=set(Shape.model_fields))
        return Shape(types=FAMILIES[self.family].token_types, **own)

    def resolve(self, languages: Sequence[str], amounts: Amounts) -> ResolvedPretrain:
        """Return the training with every number stated, on the text of some languages."""
        training = TrainingSettings(
            **amounts.shared | self.model_dump(include=set(TrainingSettings.model_fields), exclude_none=True)
        )
        names = {"smoothing", "tokenizer_characters", "embeddings", "attention"}
        return ResolvedPretrain(
            training=training,
            shape=self.shape,
            languages=tuple(languages),
            shallow=self.shallow,
            **self.model_dump(include=names),
        )


class ResolvedPretrain(Settings):
    """A teacher's training with every number stated: what the stage ``pretrain`` receives."""

    training: TrainingSettings
    shape: Shape
    languages: tuple[str, ...]
    smoothing: float
    tokenizer_characters: int
    shallow: ShallowStart | None = None
    embeddings: Literal["random", "cooccurrence"] | None = None
    attention: Literal["random", "neighbours"] | None = None
