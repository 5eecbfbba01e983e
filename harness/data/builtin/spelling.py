"""From tokens to running text: elision and assimilation, glue, capitals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rules = Mapping[str, tuple[tuple[tuple[str, ...], str], ...]]

OPENING = frozenset("([{«„“‘¿¡")
SPACED = frozenset("–—&/")
_CONTENT = frozenset(("NOUN", "ADJ", "VERB", "PROPN"))


def read_rules(source: Mapping[str, Any]) -> Rules:
    """Return, for each function word that changes, onsets of the next word and its form before them."""
    rules: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {}
    elide = dict(source.get("elide", {}))
    before = tuple(elide.pop("before", ()))
    for form, short in elide.items():
        rules[form] = ((before, short),)
    assimilate = source.get("assimilate", [])
    for rule in [assimilate] if isinstance(assimilate, Mapping) else assimilate:
        pairs = [((onset,), form) for onset, form in rule["consonants"].items()]
        rules[rule["literal"]] = ((tuple(rule["vowel_letters"]), rule["vowels"]), *pairs)
    capitals = {capital(form): tuple((on, capital(new)) for on, new in rule) for form, rule in rules.items()}
    return capitals | rules


def adapt(words: list[str], tags: Sequence[str], rules: Rules) -> None:
    """Change the function words in place to their form before the next word."""
    for place in range(len(words) - 1):
        rule = rules.get(words[place])
        if rule is None or tags[place] in _CONTENT:
            continue
        following = words[place + 1].lower()
        for onsets, form in rule:
            if following.startswith(onsets):
                words[place] = form
                break


def capital(word: str) -> str:
    """Return the word with a capital first letter; scripts without capitals stay as they are."""
    return word[:1].upper() + word[1:]


def join(words: Sequence[str], tags: Sequence[str]) -> str:
    """Return the running text of the tokens."""
    parts: list[str] = []
    glued = True
    for word, tag in zip(words, tags, strict=True):
        opens = word in OPENING
        closes = (tag == "PUNCT" and not opens and word not in SPACED) or (word[0] in "-'’" and len(word) > 1)
        if not (glued or (closes and tag not in _CONTENT)):
            parts.append(" ")
        parts.append(word)
        glued = opens or (tag not in _CONTENT and len(word) > 1 and word[-1] in "-'’")
    return "".join(parts)
