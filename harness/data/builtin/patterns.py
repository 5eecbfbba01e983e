"""Sentence patterns: from the lexicon's notation to slots, with their agreement looked up once."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.data.builtin.chance import choose, seed_random
from harness.data.builtin.lexicon import NAME_TYPES, Lexicon, split_form
from harness.tasks import UPOS

TAGS = {"noun": "NOUN", "adjective": "ADJ", "verb": "VERB", "adverb": "ADV"}
FUNCTION_TAGS = frozenset(UPOS) - {"NOUN", "ADJ", "VERB", "PROPN", "SYM", "X"}
NUM_LISTS = 24
LISTED = ("noun", "noun", "adj", "adj+", "verb", "adverb", "ENT", "ENT")

_SLOT = re.compile(r"\{(\w+)(\+?)(?:~(\d+))?(?::([\w.]+))?(?:\|([A-Z]+))?\}(?:\|([A-Z]+))?")
_LITERAL = re.compile(r"([^{}|]+)\|([A-Z]+)")
_KINDS = {"noun": "noun", "adj": "adjective", "verb": "verb", "adverb": "adverb"}

Agreement = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Slot:
    """One token of a pattern.

    Attributes:
        kind: ``literal``, ``function``, ``name``, or a kind of content word.
        text: the name's type, or the function word's name.
        tokens: the literal, or nothing.
        polar: whether the word is chosen by polarity rather than by topic.
        noun: the place (among the pattern's nouns, from 0) of the slot's noun, or of the noun it agrees with;
            None if it agrees with none.
        columns: for a noun, the columns to choose from, as (name, place).
        places: for a slot that agrees, (gender, noun column) → place of its own column (or of ``forms``).
        column: the place of the column, for a slot that does not agree.
        forms: a function word's forms.
    """

    kind: str
    tag: str
    text: str = ""
    tokens: tuple[str, ...] = ()
    polar: bool = False
    noun: int | None = None
    columns: tuple[tuple[str, int], ...] = ()
    places: Agreement = field(default_factory=dict)
    column: int = 0
    forms: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Pattern:
    """A sentence's slots, and the facts of them that tasks choose by.

    Attributes:
        nouns: the noun slots, in order.
        polar: whether any word is chosen by polarity.
        names: how many names it has.
        topical: how many words it chooses by topic.
    """

    source: str
    slots: tuple[Slot, ...]
    nouns: tuple[Slot, ...]
    polar: bool
    names: int
    topical: int


def parse_pattern(source: str, lexicon: Lexicon) -> Pattern:
    """Return the pattern.

    Raises:
        ValueError: it uses a word, column or tag that the lexicon lacks; the message names it.
    """
    matches = [(token, _SLOT.fullmatch(token), _LITERAL.fullmatch(token)) for token in source.split()]
    noun_columns = [
        _list_noun_columns(slot[4], lexicon) for _, slot, _ in matches if slot and slot[1] == "noun"
    ]
    slots: list[Slot] = []
    numbers = itertools.count()
    for token, slot, literal in matches:
        if literal:
            slots.append(Slot("literal", _check_tag(token, literal[2]), tokens=(literal[1],)))
        elif slot and slot[1] == "noun":
            noun = next(numbers)
            slots.append(Slot("noun", "NOUN", polar=bool(slot[2]), noun=noun, columns=noun_columns[noun]))
        elif slot:
            slots.append(_make_slot(token, slot, noun_columns, lexicon))
        else:
            raise ValueError(f"'{token}' is neither literal|TAG nor a slot")
    return _make_pattern(source, slots)


def make_list_patterns(lexicon: Lexicon, mark: str) -> tuple[str, ...]:
    """Return patterns that only list words and names, so that the place of a word does not reveal its kind.

    Args:
        lexicon: decides the seed only, so that languages differ.
        mark: the language's full stop.
    """
    source = seed_random("lists", lexicon.language)
    patterns = []
    for _ in range(NUM_LISTS):
        items = [
            _make_item(choose(source, LISTED), source, lexicon) for _ in range(choose(source, range(3, 7)))
        ]
        patterns.append(" ,|PUNCT ".join(items) + f" {mark}|PUNCT")
    return tuple(patterns)


def find_column(gender: str, column: str, columns: Sequence[str]) -> int | None:
    """Return the place of the column that agrees with a noun of this gender in this column, or None."""
    number = column.partition(".")[0]
    for name in (f"{gender}.{column}", f"{gender}.{number}", column, number, "all"):
        if name in columns:
            return columns.index(name)
    return None


def _make_item(name: str, source: random.Random, lexicon: Lexicon) -> str:
    """Return a slot of that name in a column drawn from those of its kind."""
    kind = name.rstrip("+")
    return f"{{{name}:{choose(source, lexicon.columns[_KINDS[kind]])}}}" if kind in _KINDS else f"{{{name}}}"


def _make_pattern(source: str, slots: Sequence[Slot]) -> Pattern:
    content = [slot for slot in slots if slot.kind in TAGS]
    return Pattern(
        source,
        tuple(slots),
        nouns=tuple(slot for slot in slots if slot.kind == "noun"),
        polar=any(slot.polar for slot in content),
        names=sum(slot.kind == "name" for slot in slots),
        topical=sum(not slot.polar for slot in content),
    )


def _check_tag(token: str, tag: str | None) -> str:
    if tag is None or tag not in FUNCTION_TAGS:
        raise ValueError(f"'{token}' needs a tag of {' '.join(sorted(FUNCTION_TAGS))}; got {tag}")
    return tag


def _list_noun_columns(column: str | None, lexicon: Lexicon) -> tuple[tuple[str, int], ...]:
    columns = lexicon.columns["noun"]
    names = [column] if column else [one for one in columns if one in ("sg", "pl")] or [columns[0]]
    for name in names:
        if name not in columns:
            raise ValueError(f"nouns have no column '{name}'; there are: {', '.join(columns)}")
    return tuple((name, columns.index(name)) for name in names)


def _make_slot(
    token: str, match: re.Match[str], nouns: Sequence[tuple[tuple[str, int], ...]], lexicon: Lexicon
) -> Slot:
    name, number, column = match[1], match[3], match[4]
    if name in (*NAME_TYPES, "ENT"):
        return Slot("name", "PROPN", name)
    slot, columns = _make_word_slot(token, match, lexicon)
    if number is not None:
        if not 1 <= int(number) <= len(nouns):
            raise ValueError(f"'{token}' agrees with noun {number}; the pattern has {len(nouns)}")
        places = _find_agreement(token, nouns[int(number) - 1], columns, lexicon.genders)
        return replace(slot, noun=int(number) - 1, places=places)
    if column and column not in columns:
        raise ValueError(f"'{token}' names no column; there are: {', '.join(columns)}")
    return replace(slot, column=columns.index(column) if column else 0)


def _make_word_slot(token: str, match: re.Match[str], lexicon: Lexicon) -> tuple[Slot, Sequence[str]]:
    """Return the slot of a content or function word, before agreement, and its columns."""
    name, tag = match[1], match[5] or match[6]
    if name in _KINDS:
        if tag:
            raise ValueError(f"'{token}' has a tag; a content word's is that of its kind")
        kind = _KINDS[name]
        return Slot(kind, TAGS[kind], name, polar=bool(match[2])), lexicon.columns[kind]
    choices = lexicon.source.get("function", {}).get(name)
    if choices is None:
        raise ValueError(f"'{token}' names no slot and no function word")
    forms = tuple(split_form(form) for form in choices.values())
    return Slot("function", _check_tag(token, tag), name, forms=forms), tuple(choices)


def _find_agreement(
    token: str, noun_columns: Sequence[tuple[str, int]], columns: Sequence[str], genders: Sequence[str]
) -> Agreement:
    places = {}
    for gender in genders:
        for name, _ in noun_columns:
            place = find_column(gender, name, columns)
            if place is None:
                raise ValueError(
                    f"'{token}' has no column for {gender}.{name}; there are: {', '.join(columns)}"
                )
            places[gender, name] = place
    return places
