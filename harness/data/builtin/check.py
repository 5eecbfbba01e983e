"""The faults of a lexicon, in messages by which its author can correct it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from harness.data.builtin.lexicon import (
    GROUPS,
    KINDS,
    POLARITIES,
    TOPICS,
    build_lexicon,
    read_source,
    split_form,
)
from harness.data.builtin.patterns import Pattern, parse_pattern

SCRIPTS = {"Latn": "LATIN", "Hebr": "HEBREW", "Deva": "DEVANAGARI"}
OPTIONAL = frozenset(("function", "elide", "assimilate"))
REQUIRED = frozenset(
    ("language", "script", "genders", "columns", *(f"{kind}s" for kind in KINDS), "names", "patterns")
)
LEAST_WORDS, LEAST_POLAR, LEAST_NEUTRAL, LEAST_NAMES, LEAST_PATTERNS = 300, 25, 12, 120, 24
LEAST_BY_TOPIC = {"noun": 18, "verb": 8, "adjective": 3}
LEAST_BY_PART = {"given": 30, "family": 30, "place": 35, "organisation": 30}


def check_lexicon(language: str) -> list[str]:
    """Return the faults of the language's file, a line each; empty when it may ship."""
    try:
        source = read_source(language)
    except (yaml.YAMLError, TypeError, ValueError) as fault:
        return [f"{language}: the file is not a YAML mapping: {fault}"]
    return [f"{language}: {one}" for one in check_mapping(language, source)]


def check_mapping(language: str, source: Mapping[str, Any]) -> list[str]:
    """Return the faults of a mapping that should be that language's lexicon."""
    return list(_structure(language, source)) or [one for check in _CHECKS for one in check(source)]


def count_words(source: Mapping[str, Any]) -> int:
    """Count the content words of the lexicon."""
    return sum(1 for _ in _words(source))


def count_names(source: Mapping[str, Any]) -> int:
    """Count the names of the lexicon; each part of a person's name counts."""
    return sum(len(text.split()) for text in _parts(source).values())


def _structure(language: str, source: Mapping[str, Any]) -> Iterator[str]:
    if missing := sorted(REQUIRED - set(source)):
        yield f"missing: {', '.join(missing)}"
        return
    yield from (f"unknown key '{key}'" for key in sorted(set(source) - REQUIRED - OPTIONAL))
    if source["language"] != language:
        yield f"language says '{source['language']}'"
    if source["script"] not in SCRIPTS:
        yield f"script '{source['script']}' is none of {', '.join(SCRIPTS)}"
    if set(source["columns"]) != set(KINDS):
        yield f"columns: expected {', '.join(KINDS)}; has {', '.join(source['columns'])}"
    for kind in KINDS:
        for group, entry in source[f"{kind}s"].items():
            yield from _group_structure(kind, group, entry, source["genders"] or ["all"])
    names = source["names"]
    if set(names) != {"person", "place", "organisation"} or set(names["person"]) != {"given", "family"}:
        yield "names: expected person: {given, family}, place, organisation"


def _group_structure(kind: str, group: str, entry: object, genders: list[str]) -> Iterator[str]:
    if group not in GROUPS:
        yield f"{kind}s: unknown group '{group}'; there are: {', '.join(GROUPS)}"
    if not isinstance(entry, Mapping if kind == "noun" else str):
        yield f"{kind}s.{group}: expected {'gender → words' if kind == 'noun' else 'words'}"
    elif isinstance(entry, Mapping):
        strange = [gender for gender in entry if gender not in genders]
        yield from (f"nouns.{group}: gender '{one}' is not declared" for one in strange)


def _words(source: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield every content word as (kind, group, forms joined by a stroke)."""
    for kind in KINDS:
        for group, entry in source[f"{kind}s"].items():
            for text in entry.values() if isinstance(entry, Mapping) else (entry,):
                yield from ((kind, group, word) for word in text.split())


def _parts(source: Mapping[str, Any]) -> dict[str, str]:
    names = source["names"]
    return {**names["person"], "place": names["place"], "organisation": names["organisation"]}


def _check_sizes(source: Mapping[str, Any]) -> Iterator[str]:
    counts = Counter((kind, group) for kind, group, _ in _words(source))
    by_group = Counter(group for _, group, _ in _words(source))
    least_counts = [
        ("content words", count_words(source), LEAST_WORDS),
        ("names", count_names(source), LEAST_NAMES),
    ]
    least_counts += [
        ("patterns", len(source["patterns"]), LEAST_PATTERNS),
        ("neutral words", by_group["neutral"], LEAST_NEUTRAL),
    ]
    least_counts += [(f"{one} words", by_group[one], LEAST_POLAR) for one in POLARITIES[:2]]
    least_counts += [
        (f"{kind}s of {topic}", counts[kind, topic], least)
        for topic in TOPICS
        for kind, least in LEAST_BY_TOPIC.items()
    ]
    parts = _parts(source)
    least_counts += [
        (f"names: {part}", len(parts[part].split()), least) for part, least in LEAST_BY_PART.items()
    ]
    yield from (f"{what}: {got}, expected ≥ {least}" for what, got, least in least_counts if got < least)


def _check_forms(source: Mapping[str, Any]) -> Iterator[str]:
    for kind, group, word in _words(source):
        columns, forms = source["columns"][kind], word.split("/")
        if len(forms) != len(columns):
            yield f"{kind}s.{group}: '{word}' has {len(forms)} forms, expected {'/'.join(columns)}"
        if "-" in forms or not all(all(split_form(form)) for form in forms):
            yield f"{kind}s.{group}: '{word}' has an empty form"


def _check_repeats(source: Mapping[str, Any]) -> Iterator[str]:
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    lemmas = Counter((kind, word.split("/")[0]) for kind, _, word in _words(source))
    for kind, group, word in _words(source):
        for form in set(word.split("/")):
            groups[kind, form].add(group)
    for (kind, form), used in groups.items():
        if len(used) > 1:
            yield f"{kind}s: '{form}' is in {' and '.join(sorted(used))}"
    yield from (
        f"{kind}s: '{lemma}' occurs {times} times" for (kind, lemma), times in lemmas.items() if times > 1
    )
    types: dict[str, set[str]] = defaultdict(set)
    for part, text in _parts(source).items():
        yield from (
            f"names: {part}: '{name}' occurs {times} times"
            for name, times in Counter(text.split()).items()
            if times > 1
        )
        for name in text.split():
            types[name].add("person" if part in ("given", "family") else part)
    yield from (
        f"names: '{name}' is {' and '.join(sorted(kinds))}" for name, kinds in types.items() if len(kinds) > 1
    )


def _check_script(source: Mapping[str, Any]) -> Iterator[str]:
    script = SCRIPTS[source["script"]]
    if not unicodedata.is_normalized("NFC", str(source)):
        yield "the text is not in NFC"
    texts = [word for _, _, word in _words(source)]
    texts += [name for text in _parts(source).values() for name in text.split()]
    texts += [
        token.rsplit("|", 1)[0] for one in source["patterns"] for token in one.split() if token[0] != "{"
    ]
    texts += [form for forms in source.get("function", {}).values() for form in forms.values()]
    for text in texts:
        strange = [
            one
            for one in text
            if unicodedata.category(one)[0] in "LM" and script not in unicodedata.name(one, "")
        ]
        if strange:
            yield f"'{text}' has '{strange[0]}', which is not {source['script']}"


def _check_patterns(source: Mapping[str, Any]) -> Iterator[str]:
    patterns: list[Pattern] = []
    lexicon = build_lexicon(source)
    for place, pattern in enumerate(source["patterns"], 1):
        try:
            patterns.append(parse_pattern(pattern, lexicon))
        except ValueError as fault:
            yield f"pattern {place}: {fault}"
        if re.search(r"[_\"][^ ]*\|", pattern):
            yield f"pattern {place}: a literal has '_' or '\"'; write two tokens, or “ ”"
        if not 2 <= len(pattern.split()) <= 16:
            yield f"pattern {place}: {len(pattern.split())} tokens, expected 2 to 16"
    yield from (
        f"pattern '{one}' occurs {times} times"
        for one, times in Counter(source["patterns"]).items()
        if times > 1
    )
    shares = (
        ("have a + slot", 1 / 3, sum(one.polar for one in patterns)),
        ("have two topical slots", 1 / 2, sum(one.topical > 1 for one in patterns)),
        ("have a name", 1 / 2, sum(one.names > 0 for one in patterns)),
    )
    yield from (
        f"patterns that {what}: {got} of {len(patterns)}, expected ≥ {least:.0%}"
        for what, least, got in shares
        if got < least * len(patterns)
    )


def _check_polarity(source: Mapping[str, Any]) -> Iterator[str]:
    """Check for two words of each polarity, one for each half, in a kind that patterns choose by polarity."""
    counts = Counter((kind, group) for kind, group, _ in _words(source))
    text = " ".join(source["patterns"])
    for kind in KINDS:
        slot = f"{{{'adj' if kind == 'adjective' else kind}+"
        few = [one for one in POLARITIES[:2] if slot in text and counts[kind, one] < 2]
        yield from (f"patterns use {slot}}}; {one} {kind}s: {counts[kind, one]}, expected ≥ 2" for one in few)


_CHECKS = (_check_forms, _check_sizes, _check_repeats, _check_script, _check_patterns, _check_polarity)
