"""Sentence patterns: from the lexicon's notation to slots whose agreement is looked up once, here."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.data.builtin.chance import choose, drawer
from harness.data.builtin.lexicon import NAME_TYPES, Lexicon, tokens
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
        noun: the place (among the pattern's nouns, from 0) of the noun this is, or agrees with; None if free.
        columns: for a noun, the columns to choose from, as (name, place).
        places: for what agrees, (gender, noun column) → place of its own column (or of ``forms``).
        column: the place of the column, for what does not agree.
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
    """A sentence's slots, and what a task wants to know of them.

    Attributes:
        nouns: the noun slots, in order.
        polar: whether any word is chosen by polarity.
        names: how many names it holds.
        topical: how many words it chooses by topic.
    """

    source: str
    slots: tuple[Slot, ...]
    nouns: tuple[Slot, ...]
    polar: bool
    names: int
    topical: int


def parse(source: str, lexicon: Lexicon) -> Pattern:
    """Gives the pattern; raises ValueError with what is wrong when it names what the lexicon has not."""
    matches = [(token, _SLOT.fullmatch(token), _LITERAL.fullmatch(token)) for token in source.split()]
    noun_columns = [_noun_columns(slot[4], lexicon) for _, slot, _ in matches if slot and slot[1] == "noun"]
    slots: list[Slot] = []
    numbers = itertools.count()
    for token, slot, literal in matches:
        if literal:
            slots.append(Slot("literal", _tag(token, literal[2]), tokens=(literal[1],)))
        elif slot and slot[1] == "noun":
            noun = next(numbers)
            slots.append(Slot("noun", "NOUN", polar=bool(slot[2]), noun=noun, columns=noun_columns[noun]))
        elif slot:
            slots.append(_slot(token, slot, noun_columns, lexicon))
        else:
            raise ValueError(f"'{token}' is neither literal|TAG nor a slot")
    return _pattern(source, slots)


def lists(lexicon: Lexicon, mark: str) -> tuple[str, ...]:
    """Gives patterns that only list words and names: what each is cannot be told from its place.

    Args:
        lexicon: decides the seed only, so that languages differ.
        mark: the language's full stop.
    """
    source = drawer("lists", lexicon.language)
    found = []
    for _ in range(NUM_LISTS):
        items = [_item(choose(source, LISTED), source, lexicon) for _ in range(choose(source, range(3, 7)))]
        found.append(" ,|PUNCT ".join(items) + f" {mark}|PUNCT")
    return tuple(found)


def look_up(gender: str, column: str, columns: Sequence[str]) -> int | None:
    """Gives the place of the column that agrees with a noun of this gender in this column, or None."""
    number = column.partition(".")[0]
    for wanted in (f"{gender}.{column}", f"{gender}.{number}", column, number, "all"):
        if wanted in columns:
            return columns.index(wanted)
    return None


def _item(name: str, source: random.Random, lexicon: Lexicon) -> str:
    """Gives a slot of that name in a column drawn from those of its kind."""
    kind = name.rstrip("+")
    return f"{{{name}:{choose(source, lexicon.columns[_KINDS[kind]])}}}" if kind in _KINDS else f"{{{name}}}"


def _pattern(source: str, slots: Sequence[Slot]) -> Pattern:
    content = [slot for slot in slots if slot.kind in TAGS]
    return Pattern(
        source,
        tuple(slots),
        nouns=tuple(slot for slot in slots if slot.kind == "noun"),
        polar=any(slot.polar for slot in content),
        names=sum(slot.kind == "name" for slot in slots),
        topical=sum(not slot.polar for slot in content),
    )


def _tag(token: str, tag: str | None) -> str:
    if tag is None or tag not in FUNCTION_TAGS:
        raise ValueError(f"'{token}' wants a tag out of {' '.join(sorted(FUNCTION_TAGS))}; got {tag}")
    return tag


def _noun_columns(wanted: str | None, lexicon: Lexicon) -> tuple[tuple[str, int], ...]:
    columns = lexicon.columns["noun"]
    names = [wanted] if wanted else [one for one in columns if one in ("sg", "pl")] or [columns[0]]
    for name in names:
        if name not in columns:
            raise ValueError(f"nouns have no column '{name}'; there are: {', '.join(columns)}")
    return tuple((name, columns.index(name)) for name in names)


def _slot(
    token: str, match: re.Match[str], nouns: Sequence[tuple[tuple[str, int], ...]], lexicon: Lexicon
) -> Slot:
    name, number, column = match[1], match[3], match[4]
    if name in (*NAME_TYPES, "ENT"):
        return Slot("name", "PROPN", name)
    slot, columns = _kind(token, match, lexicon)
    if number is not None:
        if not 1 <= int(number) <= len(nouns):
            raise ValueError(f"'{token}' agrees with noun {number}; the pattern has {len(nouns)}")
        places = _agreement(token, nouns[int(number) - 1], columns, lexicon.genders)
        return replace(slot, noun=int(number) - 1, places=places)
    if column and column not in columns:
        raise ValueError(f"'{token}' names no column; there are: {', '.join(columns)}")
    return replace(slot, column=columns.index(column) if column else 0)


def _kind(token: str, match: re.Match[str], lexicon: Lexicon) -> tuple[Slot, Sequence[str]]:
    """Gives the slot of a content or function word, not yet agreeing with anything, and its columns."""
    name, tag = match[1], match[5] or match[6]
    if name in _KINDS:
        if tag:
            raise ValueError(f"'{token}' has a tag; a content word's is that of its kind")
        kind = _KINDS[name]
        return Slot(kind, TAGS[kind], name, polar=bool(match[2])), lexicon.columns[kind]
    choices = lexicon.source.get("function", {}).get(name)
    if choices is None:
        raise ValueError(f"'{token}' names no slot and no function word")
    forms = tuple(tokens(form) for form in choices.values())
    return Slot("function", _tag(token, tag), name, forms=forms), tuple(choices)


def _agreement(
    token: str, noun_columns: Sequence[tuple[str, int]], columns: Sequence[str], genders: Sequence[str]
) -> Agreement:
    places = {}
    for gender in genders:
        for name, _ in noun_columns:
            place = look_up(gender, name, columns)
            if place is None:
                raise ValueError(
                    f"'{token}' has no column for {gender}.{name}; there are: {', '.join(columns)}"
                )
            places[gender, name] = place
    return places
