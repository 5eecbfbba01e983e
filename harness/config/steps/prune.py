"""Prune: drop FFN neurons."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from harness.config.amounts import Amounts, TextSettings
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, TextStep
from harness.config.values import Count, RatioValue, nearest, refusal

Importance = Literal["taylor", "taylor_logits", "magnitude"]


class Prune(TextStep):
    """Drop FFN neurons, the least important first; `rounds` times, an equal part each."""

    kind = "prune"
    needs = ("prune",)
    width: RatioValue
    score: Importance
    rounds: Count = 1

    @property
    def reads_text(self) -> bool:
        """Whether the importance of a neuron is measured on text."""
        return self.score != "magnitude"

    @model_validator(mode="after")
    def _check(self) -> Prune:
        if not self.reads_text:
            self.refuse_text("score: taylor and taylor_logits")
        return self

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedPrune:
        """Return the number of neurons that stay, and the text that they are scored on."""
        whole, current = models.teacher.ffn, models.current.ffn
        width = nearest(self.width.times(whole))
        if width < 1:
            raise refusal(f"width {self.width} of {whole} leaves no FFN neuron; keep more")
        if width > current:
            raise refusal(f"width {self.width} keeps {width}; the FFN is {current} wide by now; keep fewer")
        text = self.resolve_text(models, amounts) if self.reads_text else None
        return ResolvedPrune(ffn=width, score=self.score, rounds=self.rounds, text=text)


class ResolvedPrune(ResolvedStep):
    """The neurons that stay in each layer, and how the least important are chosen; no text: by magnitude."""

    kind = Prune.kind
    ffn: int
    score: Importance
    rounds: int
    text: TextSettings | None = None

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with a narrower FFN."""
        return shape.model_copy(update={"ffn": self.ffn})

    def describe(self) -> str:
        """Return the width of the FFN and the score in words."""
        return f"FFN {self.ffn} by {self.score}"
