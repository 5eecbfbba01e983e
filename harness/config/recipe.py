"""A recipe is the ordered list of steps: the method of one published system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from harness.config.shape import FAMILIES, KNOWN_TEACHERS
from harness.config.values import (
    Count,
    Portion,
    Rate,
    RatioOrCount,
    RatioValue,
    Share,
    Strict,
    refusal,
    there_are,
)

LOSSES = ("mlm", "logit_mse", "logit_kl", "hidden_cosine", "hidden_mse")
"""What a distill step may weigh: the task itself, the teacher's logits, the teacher's last hidden states."""

HIDDEN_LOSSES = ("hidden_cosine", "hidden_mse")


class Step(Strict):
    """One step; it either changes the model's shape or trains it, never both."""

    kind: ClassVar[str]


class TrainedStep(Step):
    """A step that trains. What it leaves out, the scale must state."""

    tokens: Count | None = None
    learning_rate: Rate | None = None
    batch_tokens: Count | None = None
    mask_fraction: Share | None = None
    warmup_fraction: Portion | None = None
    dropout: Portion | None = None


class Adapt(TrainedStep):
    """Train the teacher on with MLM, on the language's corpus."""

    kind = "adapt"


class Shorten(Step):
    """Keep some of the teacher's layers: the first, the last, one of every few, or those listed."""

    kind = "shorten"
    layers: RatioValue
    keep: Literal["first", "last", "strided"] | tuple[int, ...]

    @field_validator("keep", mode="before")
    @classmethod
    def _read_keep(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if any(isinstance(one, bool) or not isinstance(one, int) for one in value):
                raise refusal(f"wanted layer numbers, as [0, 2, 4]; got '{value}'")
            return tuple(value)
        if value not in ("first", "last", "strided"):
            raise refusal(there_are("value", value, ("first", "last", "strided", "a list of layers")))
        return value


class Distill(TrainedStep):
    """Train the student to the corpus and to an earlier step's model."""

    kind = "distill"
    teacher: str
    loss: dict[str, Rate]
    temperature: Rate | None = None
    positions: Literal["attended", "masked"] = "attended"

    @field_validator("loss", mode="before")
    @classmethod
    def _read_loss(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            raise refusal(f"wanted losses and their weights, as {{mlm: 0.5, logit_mse: 0.5}}; got '{value}'")
        for name in value:
            if name not in LOSSES:
                raise refusal(there_are("loss", name, LOSSES))
        return dict(value)

    @model_validator(mode="after")
    def _check(self) -> Distill:
        softens = "logit_kl" in self.loss
        if softens and self.temperature is None:
            raise refusal("logit_kl needs a temperature; add one, as temperature: 2")
        if self.temperature is not None and not softens:
            raise refusal("temperature is used by logit_kl only; remove it, or weigh logit_kl")
        if set(self.loss) == {"mlm"}:
            raise refusal("wanted a loss that looks at the teacher; mlm alone is an adapt step")
        return self


class Prune(Step):
    """Drop FFN neurons, the least important first; `rounds` times, an equal part each."""

    kind = "prune"
    width: RatioValue
    score: Literal["taylor", "magnitude"]
    rounds: Count = 1
    tokens: Count | None = None
    batch_tokens: Count | None = None
    mask_fraction: Share | None = None

    @model_validator(mode="after")
    def _check(self) -> Prune:
        if self.score == "magnitude":
            for name in ("tokens", "batch_tokens", "mask_fraction"):
                if getattr(self, name) is not None:
                    raise refusal(f"{name} is used by score: taylor only; remove it")
        return self


class Narrow(Step):
    """Make the hidden states narrower: by narrower heads (all kept) or by fewer (of the teacher's size)."""

    kind = "narrow"
    width: RatioValue
    basis: Literal["first"]
    heads: Literal["narrowed", "dropped"] = "narrowed"


class Trim(Step):
    """Keep the tokens the language uses; the number counts the special tokens."""

    kind = "trim"
    tokens: RatioOrCount


KINDS: dict[str, type[Step]] = {kind.kind: kind for kind in (Adapt, Shorten, Distill, Prune, Narrow, Trim)}


class WrittenStep(Strict):
    """A step as the file has it: a value may still be written per family."""

    id: str
    kind: str
    values: dict[str, Any]


class Recipe(Strict):
    """One published system, with one variant applied; `harness.config.load.load_recipe` makes it."""

    name: str
    source: str
    teacher: str
    notes: tuple[str, ...] = ()
    steps: tuple[WrittenStep, ...]
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("teacher")
    @classmethod
    def _check_teacher(cls, value: str) -> str:
        if value not in KNOWN_TEACHERS:
            raise refusal(there_are("teacher", value, KNOWN_TEACHERS))
        return value

    @field_validator("notes", mode="before")
    @classmethod
    def _read_notes(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def steps_for(self, family: str) -> tuple[Step, ...]:
        """Gives the steps with the values of one model family."""
        return tuple(build_step(step, family) for step in self.steps)


def build_step(step: WrittenStep, family: str) -> Step:
    """Checks a written step against its kind's schema, with the values of one family."""
    return KINDS[step.kind].model_validate({key: _pick(value, family) for key, value in step.values.items()})


def _pick(value: Any, family: str) -> Any:
    """Gives a per-family value's entry for the family; any other value as it is."""
    if not isinstance(value, Mapping) or not value or not set(value) & set(FAMILIES):
        return value
    for name in value:
        if name not in FAMILIES:
            raise refusal(there_are("model family", name, FAMILIES))
    if family not in value:
        raise refusal(f"states no value for the model family '{family}'; it has: {', '.join(value)}")
    return value[family]
