"""A language's lexicon: its words by kind, group and gender, its names by type, its patterns."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import unknown

FOLDER = Path(__file__).parent / "lexicons"
LANGUAGES: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))

TOPICS = ("health", "sports", "politics", "science", "travel", "entertainment")
POLARITIES = ("positive", "negative", "neutral")
GROUPS = (*TOPICS, *POLARITIES)
KINDS = ("noun", "adjective", "verb", "adverb")
NAME_TYPES = ("PER", "LOC", "ORG")


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """One content word: its forms by column, each as its tokens, and whether training sets may have it."""

    forms: tuple[tuple[str, ...], ...]
    group: str
    gender: str
    seen: bool


@dataclass(frozen=True, slots=True)
class Name:
    """One name, or one part of a person's name, as its tokens."""

    tokens: tuple[str, ...]
    seen: bool


@dataclass(frozen=True)
class Lexicon:
    """The content of a language's file.

    Attributes:
        words: kind → group → words, the most frequent first.
        names: ``given``, ``family``, ``place``, ``organisation`` → names, the most frequent first.
        source: the file's mapping, for columns, function words, spelling rules and patterns.
    """

    language: str
    genders: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    words: Mapping[str, Mapping[str, tuple[Word, ...]]]
    names: Mapping[str, tuple[Name, ...]]
    source: Mapping[str, Any]


def read_source(language: str) -> dict[str, Any]:
    """Return the mapping in the language's file, every scalar as text (``no`` is a word).

    Raises:
        UsageError: the language has no lexicon; the message lists the languages.
    """
    if language not in LANGUAGES:
        raise unknown("built-in language", language, LANGUAGES)
    text = (FOLDER / f"{language}.yaml").read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=yaml.BaseLoader))


@functools.cache
def load_lexicon(language: str) -> Lexicon:
    """Return the language's lexicon, read once.

    Raises:
        UsageError: the language has no lexicon; the message lists the languages.
    """
    return build_lexicon(read_source(language))


def build_lexicon(source: Mapping[str, Any]) -> Lexicon:
    """Return the lexicon of a mapping: the same words in the same order, half of them seen."""
    language = source["language"]
    genders = tuple(source["genders"]) or ("all",)
    words = {
        kind: {
            group: _read_words(language, kind, group, entry) for group, entry in source[f"{kind}s"].items()
        }
        for kind in KINDS
    }
    person = source["names"]["person"]
    lists = {
        "given": person["given"],
        "family": person["family"],
        "place": source["names"]["place"],
        "organisation": source["names"]["organisation"],
    }
    names = {part: _read_names(f"{language}:{part}", text.split()) for part, text in lists.items()}
    columns = {kind: tuple(source["columns"][kind]) for kind in KINDS}
    return Lexicon(language, genders, columns, words, names, source)


def choose_seen(salt: str, texts: Sequence[str]) -> list[bool]:
    """Return which texts are seen: one of every two neighbours, by hash; both halves are as frequent."""
    seen = []
    for place in range(0, len(texts), 2):
        first = hashlib.sha256(f"{salt}:{texts[place]}".encode()).digest()[0] % 2 == 0
        seen += [first, not first]
    return seen[: len(texts)]


def split_form(form: str) -> tuple[str, ...]:
    """Return the tokens of a form or name (``San_Ġiljan`` is two)."""
    return tuple(form.split("_"))


def _read_words(language: str, kind: str, group: str, entry: str | Mapping[str, str]) -> tuple[Word, ...]:
    by_gender = {"all": entry} if isinstance(entry, str) else entry
    lists = [[(gender, word) for word in text.split()] for gender, text in by_gender.items()]
    ranked = _interleave(lists)
    seen = choose_seen(f"{language}:{kind}:{group}", [word for _, word in ranked])
    return tuple(
        Word(tuple(split_form(form) for form in word.split("/")), group, gender, half)
        for (gender, word), half in zip(ranked, seen, strict=True)
    )


def _read_names(salt: str, texts: Sequence[str]) -> tuple[Name, ...]:
    return tuple(
        Name(split_form(text), half) for text, half in zip(texts, choose_seen(salt, texts), strict=True)
    )


def _interleave(lists: Iterable[Sequence[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Take from the lists in turn, so that each gender has frequent and rare words."""
    rounds = itertools.zip_longest(*lists)
    return [entry for one in rounds for entry in one if entry is not None]
