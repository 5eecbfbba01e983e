"""Trim: keep the tokens of the vocabulary that the language uses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from harness.config.amounts import Amounts
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, Step, resolve_vocabulary
from harness.config.values import RatioOrCount, WholeShare, refusal
from harness.units import format_count

Rule = Literal["coverage", "document_fraction", "line_fraction", "probability"]
"""By what share a token stays: of the text's tokens, the documents or the lines; or its own of all tokens."""

RULES: Mapping[Rule, str] = MappingProxyType(
    {
        "coverage": "the fewest tokens that make up {} of the text",
        "document_fraction": "tokens in {} of the documents",
        "line_fraction": "tokens in {} of the lines",
        "probability": "tokens that are {} of the text",
    }
)
"""Rule → what stays, in words."""


class Trim(Step):
    """Keep the tokens that the language uses: a number of them, or those that one rule chooses.

    Attributes:
        tokens: how many tokens stay, special tokens counted; a number, or a ratio of the teacher's. With a
            rule: the most that stay.
        coverage: keep the fewest tokens that make up this share of the text's tokens.
        document_fraction: keep the tokens in this share of the documents or more (Abdaoui et al. 2020).
        line_fraction: keep the tokens in this share of the lines or more (Singh et al. 2023).
        probability: keep the tokens that are this share of all tokens of the text or more (Ansell et al.
            2023).
        languages: further languages whose tokens stay. Each counts as if it had as much text; by the last
            three rules a token stays if one language uses it.
    """

    kind = "trim"
    needs = ("trim",)
    tokens: RatioOrCount | None = None
    coverage: WholeShare | None = None
    document_fraction: WholeShare | None = None
    line_fraction: WholeShare | None = None
    probability: WholeShare | None = None
    languages: tuple[str, ...] = ()

    @field_validator("languages", mode="before")
    @classmethod
    def _read_languages(cls, value: Any) -> Any:
        named = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        if not named or not value or len(set(value)) < len(value):
            raise refusal(f"expected languages, each once, as [en, de]; got '{value}'")
        return tuple(value)

    @model_validator(mode="after")
    def _check_rule(self) -> Self:
        rules = self._stated_rules
        if len(rules) > 1:
            raise refusal(f"expected one rule; got {' and '.join(rules)}; remove all but one")
        if self.tokens is None and not rules:
            raise refusal(f"expected tokens, or one of {', '.join(RULES)}; got none of them; add one")
        return self

    @property
    def _stated_rules(self) -> dict[Rule, float]:
        return {name: share for name in RULES if (share := getattr(self, name)) is not None}

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedTrim:
        """Return the size of the vocabulary that stays, or the rule with the most tokens that may stay."""
        current = models.current.vocabulary
        number = current if self.tokens is None else resolve_vocabulary(self.tokens, models, amounts)
        if number > current:
            raise refusal(
                f"tokens {self.tokens} keeps {number}; the vocabulary is {current} by now; keep fewer"
            )
        rule, share = next(iter(self._stated_rules.items()), (None, None))
        return ResolvedTrim(vocabulary=number, rule=rule, share=share, languages=self.languages)


class ResolvedTrim(ResolvedStep):
    """The number of tokens that stay, special tokens counted; with a rule, the most that may stay.

    `languages` are those whose text is counted besides the text of the run's own.
    """

    kind = Trim.kind
    vocabulary: int
    rule: Rule | None = None
    share: float | None = None
    languages: tuple[str, ...] = ()

    @property
    def has_own_tokens(self) -> bool:
        """Whether the number of tokens is known only when the text was counted."""
        return self.rule is not None

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with a smaller vocabulary, or with the largest that the rule may choose."""
        return shape.model_copy(update={"vocabulary": self.vocabulary})

    def describe(self) -> str:
        """Return the tokens that stay in words."""
        texts = f", with text of {', '.join(self.languages)}" if self.languages else ""
        if self.rule is None or self.share is None:
            return f"{format_count(self.vocabulary)} tokens kept{texts}"
        chosen = RULES[self.rule].format(f"{100 * self.share:g} %")
        return f"{chosen}, at most {format_count(self.vocabulary)} tokens kept{texts}"
