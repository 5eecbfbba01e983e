"""Retokenize: a vocabulary learned from the language's text in place of the teacher's."""

from __future__ import annotations

from harness.config.amounts import Amounts
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, Step, resolve_vocabulary
from harness.config.values import RatioOrCount
from harness.units import format_count


class Retokenize(Step):
    """Learn a vocabulary from the language's text, and make its rows of those of the old tokens.

    Attributes:
        vocabulary: how many tokens it has, special tokens counted; a number, or a ratio of the teacher's.
    """

    kind = "retokenize"
    needs = ("trim",)
    vocabulary: RatioOrCount

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedRetokenize:
        """Return the size of the new vocabulary."""
        return ResolvedRetokenize(vocabulary=resolve_vocabulary(self.vocabulary, models, amounts))


class ResolvedRetokenize(ResolvedStep):
    """The number of tokens of the new vocabulary, special tokens counted."""

    kind = Retokenize.kind
    vocabulary: int

    @property
    def has_own_tokens(self) -> bool:
        """Whether no earlier model has its tokens."""
        return True

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with the new vocabulary."""
        return shape.model_copy(update={"vocabulary": self.vocabulary})

    def describe(self) -> str:
        """Return the number of tokens in words."""
        return f"{format_count(self.vocabulary)} tokens learned from the text"
