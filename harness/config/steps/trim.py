"""Trim: keep the tokens of the vocabulary that the language uses."""

from __future__ import annotations

from harness.config.amounts import Amounts
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, Step, resolve_vocabulary
from harness.config.values import RatioOrCount, refusal
from harness.units import format_count


class Trim(Step):
    """Keep the tokens that the language uses.

    Attributes:
        tokens: how many tokens stay, special tokens counted; a number, or a ratio of the teacher's.
    """

    kind = "trim"
    needs = ("trim",)
    tokens: RatioOrCount

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedTrim:
        """Return the size of the vocabulary that stays."""
        number, current = resolve_vocabulary(self.tokens, models, amounts), models.current.vocabulary
        if number > current:
            raise refusal(
                f"tokens {self.tokens} keeps {number}; the vocabulary is {current} by now; keep fewer"
            )
        return ResolvedTrim(vocabulary=number)


class ResolvedTrim(ResolvedStep):
    """The number of tokens that stay, special tokens counted."""

    kind = Trim.kind
    vocabulary: int

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with a smaller vocabulary."""
        return shape.model_copy(update={"vocabulary": self.vocabulary})

    def describe(self) -> str:
        """Return the number of tokens in words."""
        return f"{format_count(self.vocabulary)} tokens kept"
