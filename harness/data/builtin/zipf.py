"""Tables to draw words from: one cumulative sum for each kind, latent value and view of the vocabulary.

The *view* is the half of the words that may be drawn: ``all`` (the corpus), ``seen`` (train and dev) or
``unseen`` (test: mostly the half that no labelled training set has).
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from harness.data.builtin.lexicon import TOPICS, Word

VIEWS = ("all", "seen", "unseen")
UNSEEN_FRACTION = 0.75
TOPIC_FRACTION, NEUTRAL_FRACTION = 0.80, 0.08
POLARITY_FRACTION = 0.86
RANK_OFFSET = 2


class _Halved(Protocol):
    @property
    def seen(self) -> bool: ...


Entry = TypeVar("Entry", bound=_Halved)


@dataclass(frozen=True, slots=True)
class WordTable(Generic[Entry]):
    """Entries and the cumulative probability up to each; the last is 1."""

    entries: tuple[Entry, ...]
    cumulative: tuple[float, ...]

    def draw(self, rng: random.Random) -> Entry:
        """Draw one entry."""
        return self.entries[bisect_right(self.cumulative, rng.random())]


def build_table(groups: Sequence[tuple[float, Sequence[Entry]]], view: str) -> WordTable[Entry]:
    """Return the table of groups with their shares; within a group the chance falls as 1 / (rank + 2)."""
    weighted: list[tuple[Entry, float]] = []
    for share, entries in groups:
        for part, chosen in _split_halves(entries, view):
            weights = [1.0 / (rank + RANK_OFFSET) for rank in range(len(chosen))]
            weighted += [
                (one, share * part * weight / sum(weights))
                for one, weight in zip(chosen, weights, strict=True)
            ]
    total = sum(weight for _, weight in weighted)
    cumulative = list(itertools.accumulate(weight / total for _, weight in weighted))
    return WordTable(tuple(one for one, _ in weighted), (*cumulative[:-1], 1.0))


def topic_shares(topic: str) -> dict[str, float]:
    """Return the share of each group where a word is chosen by topic."""
    rest = (1 - TOPIC_FRACTION - NEUTRAL_FRACTION) / (len(TOPICS) - 1)
    return {one: TOPIC_FRACTION if one == topic else rest for one in TOPICS} | {"neutral": NEUTRAL_FRACTION}


def polarity_shares(polarity: str) -> dict[str, float]:
    """Return the share of each group where a word is chosen by polarity."""
    others = [one for one in ("positive", "negative", "neutral") if one != polarity]
    return {polarity: POLARITY_FRACTION} | dict.fromkeys(others, (1 - POLARITY_FRACTION) / 2)


def build_table_by_shares(
    words: Mapping[str, Sequence[Word]], shares: Mapping[str, float], view: str
) -> WordTable[Word]:
    """Return the table of a kind's words; the share of a group that the kind lacks goes to the others."""
    return build_table(
        [(shares[group], entries) for group, entries in words.items() if group in shares], view
    )


def _split_halves(entries: Sequence[Entry], view: str) -> list[tuple[float, list[Entry]]]:
    seen = [one for one in entries if one.seen]
    unseen = [one for one in entries if not one.seen]
    if view == "all" or not (seen and unseen):
        return [(1.0, list(entries))]
    if view == "seen":
        return [(1.0, seen)]
    return [(UNSEEN_FRACTION, unseen), (1 - UNSEEN_FRACTION, seen)]
