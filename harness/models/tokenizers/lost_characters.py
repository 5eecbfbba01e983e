"""The characters that trimming takes from a tokenizer, and a trial of the trimmed one on drawn text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.drawn_text import draw_texts
from harness.models.tokenizers.vocabulary import Spec

_DRAWN_TEXTS, _SEED = 1000, 0
_LETTERS_AND_MARKS = ("L", "M")


class CharacterLoss(NamedTuple):
    """What became of a tokenizer's characters.

    Attributes:
        dropped: characters that had a token of their own and lost it, so that text with them may become
            unknown; none where they become bytes.
        fragile: characters that were in tokens, yet had none of their own before, so that text with them is
            known only as long as the other token is kept.
    """

    dropped: frozenset[str]
    fragile: frozenset[str]


def find_lost_characters(before: Spec, after: Spec) -> CharacterLoss:
    """Return the characters whose own tokens a trimmed tokenizer lacks."""
    if vocabulary.falls_back_to_bytes(after):
        return CharacterLoss(frozenset(), frozenset())
    old, new = vocabulary.number_tokens(before), vocabulary.number_tokens(after)
    added = {token["content"] for token in before["added_tokens"]}
    characters = {letter for token in old.keys() - added for letter in vocabulary.strip_marks(before, token)}
    forms = {one: vocabulary.character_forms(before, one) for one in characters}
    return CharacterLoss(
        frozenset(one for one in characters if any(form in old and form not in new for form in forms[one])),
        frozenset(one for one in characters if any(form not in old for form in forms[one])),
    )


def count_by_script(characters: Iterable[str]) -> dict[str, int]:
    """Count letters and marks by the script that begins their names in Unicode; others as Other."""
    counts = Counter(_name_script(one) for one in characters)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _name_script(character: str) -> str:
    if not unicodedata.category(character).startswith(_LETTERS_AND_MARKS):
        return "Other"
    return unicodedata.name(character, "Other").split(" ")[0].split("-")[0].capitalize()


def draw_trial_texts(spec: Spec) -> list[str]:
    """Return texts drawn over all of Unicode, half of their words from the tokenizer's own pieces."""
    added = {token["content"] for token in spec["added_tokens"]}
    tokens = sorted(vocabulary.number_tokens(spec).keys() - added)
    pieces = [vocabulary.strip_marks(spec, token).replace("▁", " ") for token in tokens]
    return list(draw_texts(_DRAWN_TEXTS, _SEED, [piece for piece in pieces if piece.strip()]))


def select_texts_without(characters: frozenset[str], texts: Sequence[str], normalizer: Any) -> list[int]:
    """Return the indices of the texts that have none of the characters after a normaliser."""
    normalized = (normalizer.normalize_str(text) if normalizer is not None else text for text in texts)
    return [place for place, text in enumerate(normalized) if characters.isdisjoint(text)]
