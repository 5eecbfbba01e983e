"""What kinds of step share: the schema of a recipe's entry, and its form with every number stated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from harness.config.amounts import Amounts, Settings, TextSettings, TrainingSettings
from harness.config.losses import (
    LayerMap,
    Loss,
    LossSettings,
    check_compatible,
    find_missing_setting,
    find_unused_setting,
    list_losses,
)
from harness.config.shape import Shape
from harness.config.values import (
    Count,
    Portion,
    Positive,
    Rate,
    Ratio,
    Share,
    Strict,
    describe_unknown,
    nearest,
    refusal,
)
from harness.families import FAMILIES, SUPPORTED, Support, list_families

TEACHER = "teacher"
"""What a step calls the model that the recipe starts from."""

PARTS = ("embeddings", "attention", "ffn", "norms", "mlm_head")
"""What a step that trains may leave as it is."""


class ResolvedStep(Settings):
    """A step with every number stated: the object that its stage receives.

    Attributes:
        kind: as the schema's.
        outside_config: fields that the config of the step's stage does not hold, since they reach the stage's
            key in another way, as the teacher does by being an input.
        teacher: the earlier model that teaches, by step id; None for a step without a teacher.
    """

    kind: ClassVar[str]
    outside_config: ClassVar[frozenset[str]] = frozenset({"teacher"})
    teacher: str | None = None

    @property
    def has_own_tokens(self) -> bool:
        """Whether no earlier model has the tokens of the model after the step, whatever their number."""
        return False

    @abstractmethod
    def describe(self) -> str:
        """Return what the step does, in a few words with its numbers."""

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape that the step makes of a model; a step that trains leaves the shape as it is."""
        return shape

    def to_config(self) -> dict[str, Any]:
        """Return what the key of the step's stage is a digest of."""
        return {name: value for name, value in super().to_config().items() if name not in self.outside_config}


@dataclass(frozen=True)
class PlannedStep:
    """A resolved step in its place.

    Attributes:
        id: the kind; the second of a kind is ``distill-2``.
        step: what is done.
        shape: the model after the step.
    """

    id: str
    step: ResolvedStep
    shape: Shape

    @property
    def kind(self) -> str:
        """The kind of the step, and of its stage."""
        return self.step.kind


@dataclass(frozen=True)
class EarlierModels:
    """The models before a step: the recipe's teacher, then the model after each earlier step."""

    teacher: Shape
    steps: tuple[PlannedStep, ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each model, by step id, in order."""
        return {TEACHER: self.teacher} | {step.id: step.shape for step in self.steps}

    @property
    def current(self) -> Shape:
        """The model that the step is applied to."""
        return self.steps[-1].shape if self.steps else self.teacher

    def share_tokens(self, model: str) -> bool:
        """Return whether an earlier model, by step id, reads text as the same tokens as the current one."""
        places = [TEACHER, *(planned.id for planned in self.steps)]
        since = self.steps[places.index(model) :]
        same_size = self.shapes[model].vocabulary == self.current.vocabulary
        return same_size and not any(planned.step.has_own_tokens for planned in since)


def resolve_vocabulary(tokens: Ratio | int, models: EarlierModels, amounts: Amounts) -> int:
    """Return a number of tokens: a share of the teacher's, or a number, which small teachers scale."""
    whole, reference = models.teacher.vocabulary, amounts.reference_vocabulary
    if isinstance(tokens, int) and reference is not None and whole < reference:
        tokens = Ratio(min(tokens, reference), reference)
    number = nearest(tokens.times(whole)) if isinstance(tokens, Ratio) else tokens
    if number < 1:
        raise refusal(f"tokens {tokens} of {whole} leaves no token; keep more")
    return number


class Step(Strict):
    """A step as a recipe states it; it either changes the model's shape or trains it, never both.

    Attributes:
        kind: its name in recipes, and the name of its module.
        trains: whether it trains weights.
        needs: what a family must support for it.
        needs_teacher: whether it learns from an earlier model.
        makes_encoder: whether it makes an encoder, in a stage of its own; another step comes last.
    """

    kind: ClassVar[str]
    trains: ClassVar[bool] = False
    needs: ClassVar[tuple[Support, ...]] = ()
    needs_teacher: ClassVar[bool] = False
    makes_encoder: ClassVar[bool] = True

    @abstractmethod
    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedStep:
        """Return the step with every number stated.

        Invariants: every ratio is of the number of the *teacher* that the recipe starts from.

        Raises:
            PydanticCustomError: the step does not fit the models before it, or lacks a number.
        """

    def list_needs(self) -> tuple[Support, ...]:
        """Return what a family must support for this step."""
        return self.needs

    def learns_from_scratch(self, models: EarlierModels) -> bool:
        """Whether random weights learn from words alone in this step."""
        del models
        return False


class TextStep(Step):
    """A step that reads the language's text; the scale must state the numbers that the step leaves out."""

    tokens: Count | None = None
    batch_tokens: Count | None = None
    mask_fraction: Share | None = None

    def resolve_text(self, models: EarlierModels, amounts: Amounts) -> TextSettings:
        """Return how much text the step reads, the scale's numbers before its own."""
        names = tuple(TextStep.model_fields)
        stated = self.model_dump(include=set(names), exclude_none=True) | amounts.stated
        _check_amounts(stated, names, models, amounts)
        return TextSettings(**stated, **amounts.shared)

    def refuse_text(self, readers: str) -> None:
        """Refuse numbers of a text that the step does not read."""
        for name in TextStep.model_fields:
            if getattr(self, name) is not None:
                raise refusal(f"{name} is used by {readers} only; remove it")


class TrainedStep(TextStep):
    """A step that trains on the language's text.

    `epochs` are passes over the corpus, in place of `tokens`; a scale's tokens replace them. `text_fraction`
    is the share of its rows that are trained on, evenly spread. `mask_smoothing` masks rare tokens more
    often, in proportion to count to the power of less it (Conneau and Lample 2019).
    """

    trains = True

    epochs: Count | None = None
    learning_rate: Rate | None = None
    warmup_fraction: Portion | None = None
    dropout: Portion | None = None
    mask_smoothing: Share | None = None
    text_fraction: Share | None = None
    freeze: tuple[Literal["embeddings", "attention", "ffn", "norms", "mlm_head"], ...] | None = None

    @field_validator("freeze", mode="before")
    @classmethod
    def _read_freeze(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise refusal(f"expected parts of the model, as [embeddings]; got '{value}'")
        for name in value:
            if name not in PARTS:
                raise refusal(describe_unknown("part", name, PARTS))
        return tuple(value)

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if self.tokens is not None and self.epochs is not None:
            raise refusal("expected tokens or epochs, not both; remove one")
        return self

    def resolve_training(self, models: EarlierModels, amounts: Amounts) -> TrainingSettings:
        """Return how much and how fast the step trains, the scale's numbers before its own."""
        own = self.model_dump(include=set(TrainedStep.model_fields), exclude_none=True)
        stated = own | amounts.stated
        if "tokens" in stated:
            stated.pop("epochs", None)
        amount = "epochs" if "epochs" in stated else "tokens"
        names = (amount, "learning_rate", "batch_tokens", "mask_fraction", "warmup_fraction")
        _check_amounts(stated, names, models, amounts)
        return TrainingSettings(**stated, **amounts.shared)


def _check_amounts(
    stated: Mapping[str, Any], names: Sequence[str], models: EarlierModels, amounts: Amounts
) -> None:
    """Check that the named numbers are stated, and that batches and sequences fit the model."""
    missing = ", ".join(name for name in names if name not in stated)
    if missing:
        raise refusal(f"neither the recipe nor the scale '{amounts.scale}' states {missing}; add it")
    tokens, batch, length = stated.get("tokens"), stated["batch_tokens"], amounts.sequence_length
    if tokens is not None and tokens < batch:
        raise refusal(f"{tokens} tokens are fewer than one batch of {batch}; raise tokens")
    if batch < length:
        raise refusal(f"a batch of {batch} tokens holds no sequence of {length}; raise batch_tokens")
    most = models.current.max_length
    if length > most:
        raise refusal(f"sequence_length {length} is above the {most} the teacher's positions hold; lower it")


class TaughtStep(Step):
    """A step that learns from an earlier model by a weighted sum of losses.

    `layers` says which of the teacher's layers the student's are compared with, for losses that compare
    several. `other_tokens` is what to do where teacher and student read other tokens.
    """

    needs_teacher = True
    known_losses: ClassVar[Mapping[str, Loss]]
    other_tokens: ClassVar[str]
    loss_example: ClassVar[str]

    teacher: str
    loss: dict[str, Positive]
    temperature: Positive | None = None
    layers: LayerMap | None = None

    def list_needs(self) -> tuple[Support, ...]:
        """Return what a family must support for this step and its losses."""
        by_attention = not set(list_losses("attention", "relations")).isdisjoint(self.loss)
        return ("distil", "attention") if by_attention else ("distil",)

    @property
    def reads_same_tokens(self) -> bool:
        """Whether student and teacher read the same tokens, and need the same vocabulary."""
        return True

    @property
    def loss_settings(self) -> LossSettings:
        """The settings that some losses use."""
        return LossSettings(self.temperature, self.layers)

    @field_validator("loss", mode="before")
    @classmethod
    def _read_loss(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            raise refusal(f"expected losses and their weights, as {cls.loss_example}; got '{value}'")
        for name in value:
            if name not in cls.known_losses:
                raise refusal(describe_unknown("loss", name, cls.known_losses))
        return dict(value)

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        settings = self.loss_settings
        missing = find_missing_setting(self.loss, settings)
        reason = missing or find_unused_setting(self.loss, settings, self.known_losses)
        if reason is not None:
            raise refusal(reason)
        return self


def check_family(step: Step, family: str) -> None:
    """Check that a model's family supports a step."""
    for support in step.list_needs():
        if support not in FAMILIES[family].supports:
            able = ", ".join(list_families(support))
            raise refusal(
                f"expected a model of a family that can {SUPPORTED[support]} ({able}); got {family}; "
                "leave the step out, or take another recipe or teacher"
            )


def check_teacher(step: TaughtStep, models: EarlierModels) -> None:
    """Check that a step's teacher is an earlier model, reads the student's tokens, and fits every loss."""
    shapes, student = models.shapes, models.current
    if step.teacher not in shapes:
        raise refusal(f"teacher '{step.teacher}' is no earlier step; there are: {', '.join(shapes)}")
    teacher = shapes[step.teacher]
    if step.reads_same_tokens and not models.share_tokens(step.teacher):
        others = " others" if teacher.vocabulary == student.vocabulary else ""
        raise refusal(
            f"teacher '{step.teacher}' has {teacher.vocabulary} tokens, the student {student.vocabulary}"
            f"{others}; one text would be other tokens to each: {step.other_tokens}"
        )
    reason = check_compatible(step.loss, step.loss_settings, student, teacher)
    if reason is not None:
        raise refusal(f"teacher '{step.teacher}': {reason}")
