"""Shorten: drop layers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from pydantic import field_validator, model_validator

from harness.config.amounts import Amounts, TextSettings
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, TextStep
from harness.config.values import RatioValue, describe_unknown, nearest, refusal
from harness.families import FAMILIES

NAMED_LAYERS = ("first", "last", "strided", "strided-last", "spread", "influence")
"""Which layers a shorter model may keep, besides a list of them."""


class Shorten(TextStep):
    """Drop layers: those stay that a name or a list chooses.

    Of twelve, six ``strided`` are 0, 2, … 10; ``strided-last`` 1, 3, … 11; ``spread`` 0, 2, 4, 7, 9, 11.
    By ``influence`` those layers go, one by one, without which the loss on text is lowest.
    """

    kind = "shorten"
    needs = ("shorten",)
    layers: RatioValue
    keep: Literal["first", "last", "strided", "strided-last", "spread", "influence"] | tuple[int, ...]

    @field_validator("keep", mode="before")
    @classmethod
    def _read_keep(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if any(isinstance(layer, bool) or not isinstance(layer, int) for layer in value):
                raise refusal(f"expected layer numbers, as [0, 2, 4]; got '{value}'")
            return tuple(value)
        if value not in NAMED_LAYERS:
            raise refusal(describe_unknown("value", value, (*NAMED_LAYERS, "a list of layers")))
        return value

    @property
    def reads_text(self) -> bool:
        """Whether the layers are chosen on text."""
        return self.keep == "influence"

    @model_validator(mode="after")
    def _check(self) -> Shorten:
        if not self.reads_text:
            self.refuse_text("keep: influence")
        return self

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedShorten:
        """Return the layers that stay, or their number and the text that they are chosen on."""
        whole, current = models.teacher.layers, models.current.layers
        number = nearest(self.layers.times(whole))
        if number < 1:
            raise refusal(f"layers {self.layers} of {whole} leaves no layer; keep more")
        if number > current:
            raise refusal(f"layers {self.layers} keeps {number}; the model has {current} by now; keep fewer")
        if self.reads_text:
            return ResolvedShorten(layers=(), number=number, text=self.resolve_text(models, amounts))
        if isinstance(self.keep, str):
            return _keep_layers(choose_layers(self.keep, number, current), models)
        if len(self.keep) != number:
            raise refusal(f"keep lists {len(self.keep)} layers, the ratio keeps {number}; make them agree")
        if list(self.keep) != sorted(set(self.keep)) or self.keep[0] < 0 or self.keep[-1] >= current:
            raise refusal(
                f"keep: expected a rising list of layers from 0 to {current - 1}; got {list(self.keep)}; "
                "correct the list"
            )
        return _keep_layers(self.keep, models)


def _keep_layers(layers: tuple[int, ...], models: EarlierModels) -> ResolvedShorten:
    family = models.current.family
    if FAMILIES[family].first_layer_stays and layers[0] != 0:
        raise refusal(
            f"expected layer 0 kept, as it alone has no norm in {family}; got layers "
            f"{', '.join(map(str, layers))}; take keep: first, strided or spread"
        )
    return ResolvedShorten(layers=layers)


def choose_layers(name: str, number: int, of: int) -> tuple[int, ...]:
    """Return the rising indices of the layers that a name chooses; strided starts at layer 0."""
    if name == "first":
        return tuple(range(number))
    if name == "last":
        return tuple(range(of - number, of))
    if name == "strided":
        return tuple(index * of // number for index in range(number))
    if name == "strided-last":
        return tuple((index + 1) * of // number - 1 for index in range(number))
    return tuple(nearest(Fraction(index * (of - 1), max(1, number - 1))) for index in range(number))


class ResolvedShorten(ResolvedStep):
    """The indices of the layers that stay, rising; or the number of those that are chosen on a text."""

    kind = Shorten.kind
    layers: tuple[int, ...]
    number: int | None = None
    text: TextSettings | None = None

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with as many layers as stay."""
        return shape.model_copy(update={"layers": self.number or len(self.layers)})

    def describe(self) -> str:
        """Return the layers that stay."""
        if self.number:
            return f"{self.number} layers by influence"
        return f"layers {', '.join(map(str, self.layers))}"
