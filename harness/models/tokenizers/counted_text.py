"""The tokens of the text of one or more languages, counted once and chosen from by any rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial, reduce
from typing import TypeAlias

import numpy as np
from transformers import PreTrainedTokenizerBase

from harness.config.steps.trim import Rule
from harness.models.tokenizers.counting import Counts, count_characters, count_documents, count_tokens
from harness.models.tokenizers.selection import (
    balance_counts,
    choose_requested_tokens,
    choose_tokens,
    select_by_coverage,
    select_by_document_frequency,
    select_by_probability,
)
from harness.models.tokenizers.vocabulary import Ids

Text: TypeAlias = Callable[[], Iterable[Sequence[str]]]
"""Returns the documents of a text, each time from the first; a document is a sequence of lines."""
Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with how many lines or documents were read, of how many, and with which of the two."""


class CountedText:
    """The text of one or more languages; what a rule needs is counted when it is first asked for.

    Invariants: the text is streamed, so that memory does not grow with it. The single characters of the text
    are among the tokens that every rule keeps.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[Text],
        progress: Progress = lambda *_: None,
    ) -> None:
        """Take the texts as they are; nothing is read yet.

        Args:
            tokenizer: whose tokens are counted.
            texts: of each language.
            progress: called while a text is read.
        """
        self._tokenizer, self._texts, self._progress = tokenizer, texts, progress

    def choose_number(self, size: int) -> Ids:
        """Return the ids of so many tokens: the most frequent, with each language as if it had as much text.

        Raises:
            HarnessError: more tokens than there are, or fewer than must stay.
        """
        return choose_tokens(self._counts, size, self._tokenizer, self._characters)

    def choose(self, rule: Rule, share: float, most: int | None = None) -> Ids:
        """Return the ids that a rule chooses, or the most frequent of them where it chooses too many.

        Args:
            rule: a name of `harness.config.steps.trim.RULES`. All but ``coverage`` keep a token that one
                language uses so much.
            share: of the text's tokens, documents or lines; or the token's own share of the tokens.
            most: how many tokens may stay; None: any number.

        Raises:
            HarnessError: a share outside 0 to 1, or fewer tokens than must stay.
        """
        requested = self._select(rule, share)
        return choose_requested_tokens(self._counts, requested, self._tokenizer, self._characters, most=most)

    def _select(self, rule: Rule, share: float) -> Ids:
        if rule == "coverage":
            return select_by_coverage(self._counts, share)
        if rule == "probability":
            chosen = [select_by_probability(counts, share) for counts in self._counts_by_language]
        else:
            units = self._documents if rule == "document_fraction" else self._lines
            chosen = [select_by_document_frequency(*counted, share) for counted in units]
        return reduce(np.union1d, chosen)

    @cached_property
    def _counts(self) -> Counts:
        counts = self._counts_by_language
        return balance_counts(counts) if len(counts) > 1 else counts[0]

    @cached_property
    def _counts_by_language(self) -> list[Counts]:
        return [
            count_tokens(self._tokenizer, (line for (line,) in lines), report)
            for lines, report in self._read("lines")
        ]

    @cached_property
    def _documents(self) -> list[tuple[Counts, int]]:
        return [count_documents(self._tokenizer, *text) for text in self._read("documents")]

    @cached_property
    def _lines(self) -> list[tuple[Counts, int]]:
        return [count_documents(self._tokenizer, *text) for text in self._read("lines")]

    def _read(self, unit: str) -> Iterator[tuple[Iterable[Sequence[str]], Callable[[int], None]]]:
        """Yield each language's documents, or its lines as documents, and what reports how many were read."""
        texts = [partial(_split_lines, read) if unit == "lines" else read for read in self._texts]
        sizes = [sum(1 for _ in read()) for read in texts]
        for index, read in enumerate(texts):
            yield read(), partial(self._report, sum(sizes[:index]), sum(sizes), unit)

    def _report(self, before: int, total: int, unit: str, number: int) -> None:
        self._progress(before + number, total, unit)

    @cached_property
    def _characters(self) -> set[str]:
        return {
            character
            for read in self._texts
            for document in read()
            for character in count_characters(self._tokenizer, document)
        }


def _split_lines(read: Text) -> Iterator[Sequence[str]]:
    return ([line] for document in read() for line in document)
