"""Trim: keep the tokens of the vocabulary that the language uses."""

from __future__ import annotations

from harness.config.amounts import Amounts
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, Step
from harness.config.values import Ratio, RatioOrCount, nearest, refusal
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
        tokens, whole, current = self.tokens, models.teacher.vocabulary, models.current.vocabulary
        reference = amounts.reference_vocabulary
        if isinstance(tokens, int) and reference is not None and whole < reference:
            tokens = Ratio(min(tokens, reference), reference)
        number = nearest(tokens.times(whole)) if isinstance(tokens, Ratio) else tokens
        if number < 1:
            raise refusal(f"tokens {tokens} of {whole} leaves no token; keep more")
        if number > current:
            raise refusal(f"tokens {tokens} keeps {number}; the vocabulary is {current} by now; keep fewer")
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
