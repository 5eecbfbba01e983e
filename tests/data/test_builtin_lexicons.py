from __future__ import annotations

import copy

import pytest

from harness.data.builtin import LANGUAGES
from harness.data.builtin.check import check_lexicon, check_mapping, count_names, count_words
from harness.data.builtin.lexicon import KINDS, NAME_TYPES, choose_seen, load_lexicon, read_source
from harness.data.builtin.patterns import find_column, parse_pattern
from harness.errors import UsageError


@pytest.fixture
def english():
    return copy.deepcopy(read_source("en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_lexicon_has_no_problem(language):
    faults = check_lexicon(language)
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("language", LANGUAGES)
def test_lexicon_is_large_enough(language):
    source = read_source(language)
    assert count_words(source) >= 300
    assert count_names(source) >= 120


@pytest.mark.parametrize("language", LANGUAGES)
def test_half_of_every_group_is_seen(language):
    lexicon = load_lexicon(language)
    for entries in [
        *lexicon.names.values(),
        *(one for kind in KINDS for one in lexicon.words[kind].values()),
    ]:
        assert abs(2 * sum(one.seen for one in entries) - len(entries)) <= 1


def test_scalars_stay_text():
    assert all(isinstance(key, str) for key in read_source("sk")["function"])


def test_seen_words_depend_on_the_salt_and_the_words_alone():
    texts = [f"word{number}" for number in range(40)]
    assert choose_seen("a", texts) == choose_seen("a", texts)
    assert choose_seen("a", texts) != choose_seen("b", texts)


def test_an_unknown_language_lists_the_languages():
    with pytest.raises(UsageError, match=r"unknown built-in language 'xx'.*\bmt\b"):
        load_lexicon("xx")


def _drop(source, *path):
    for key in path[:-1]:
        source = source[key]
    del source[path[-1]]


def _append(source, text, *path):
    for key in path[:-1]:
        source = source[key]
    source[path[-1]] += text


FAULTS = {
    "missing: verbs": lambda one: _drop(one, "verbs"),
    "unknown key 'verb'": lambda one: one.update(verb={}),
    "language says 'de'": lambda one: one.update(language="de"),
    "script 'Cyrl'": lambda one: one.update(script="Cyrl"),
    "unknown group 'food'": lambda one: one["verbs"].update(food="eats/eat"),
    "gender 'f' is not declared": lambda one: one["nouns"]["health"].update(f="cup/cups"),
    "expected gender → words": lambda one: one["nouns"].update(health="cup/cups"),
    "names: expected": lambda one: _drop(one, "names", "place"),
    "has 1 forms, expected sg/pl": lambda one: _append(one, " cup", "nouns", "health", "all"),
    "has an empty form": lambda one: _append(one, " cup/-", "nouns", "health", "all"),
    "verbs of sports: 0": lambda one: one["verbs"].update(sports=""),
    "names: place: 1": lambda one: one["names"].update(place="London"),
    "'doctor' is in health and sports": lambda one: _append(one, " doctor/doctors", "nouns", "sports", "all"),
    "'doctor' occurs 2 times": lambda one: _append(one, " doctor/doctors", "nouns", "health", "all"),
    "'London' is organisation and place": lambda one: _append(one, " London", "names", "organisation"),
    "has 'м', which is not Latn": lambda one: _append(one, " мир/мир", "nouns", "health", "all"),
    "not in NFC": lambda one: _append(one, " cafe\u0301", "names", "place"),
    "pattern 1: nouns have no column 'dual'": lambda one: one["patterns"].insert(0, "{noun:dual} .|PUNCT"),
    "pattern 1: '{the~1|DET}' names no slot": lambda one: one["patterns"].insert(0, "{the~1|DET} {noun}"),
    "agrees with noun 2; the pattern has 1": lambda one: one["patterns"].insert(0, "{adj~2} {noun}"),
    "needs a tag of": lambda one: one["patterns"].insert(0, "cups|NOUN {noun}"),
    "has a tag; a content word's": lambda one: one["patterns"].insert(0, "{noun} {verb|AUX}"),
    "neither literal|TAG nor a slot": lambda one: one["patterns"].insert(0, "the {noun}"),
    "names no column; there are: sg, pl": lambda one: one["patterns"].insert(0, "{noun} {verb:dual}"),
    "has no column for all.sg": lambda one: (
        one["function"].update(those={"pl": "those"}),
        one["patterns"].insert(0, "{those~1|DET} {noun:sg}"),
    ),
    "write two tokens": lambda one: one["patterns"].insert(0, "of_the|ADP {noun}"),
    "1 tokens, expected 2 to 16": lambda one: one["patterns"].insert(0, "{noun}"),
    "patterns: 3, expected ≥ 24": lambda one: one.update(patterns=one["patterns"][:3]),
    "patterns that have a name: 0 of 24": lambda one: one.update(patterns=["{noun} {verb~1}"] * 24),
    "positive nouns: 0, expected ≥ 2": lambda one: _drop(one, "nouns", "positive"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_the_checker_names_each_fault(message, english):
    assert check_mapping("en", english) == []
    FAULTS[message](english)
    assert any(message in one for one in check_mapping("en", english)), check_mapping("en", english)


@pytest.mark.parametrize(
    ("gender", "column", "columns", "expected"),
    [
        ("f", "sg.acc", ["all", "sg", "sg.acc", "f.sg", "f.sg.acc"], "f.sg.acc"),
        ("f", "sg.acc", ["all", "sg", "sg.acc", "f.sg"], "f.sg"),
        ("f", "sg.acc", ["all", "sg", "sg.acc"], "sg.acc"),
        ("f", "sg.acc", ["all", "sg"], "sg"),
        ("f", "sg.acc", ["m.sg", "all"], "all"),
    ],
)
def test_agreement_prefers_the_most_specific_column(gender, column, columns, expected):
    assert columns[find_column(gender, column, columns)] == expected


def test_agreement_without_a_column_is_none():
    assert find_column("f", "sg", ["m.sg", "pl"]) is None


def test_name_types_are_those_of_the_slots():
    pattern = parse_pattern(" ".join(f"{{{one}}}" for one in (*NAME_TYPES, "ENT")), load_lexicon("en"))
    assert [slot.text for slot in pattern.slots] == ["PER", "LOC", "ORG", "ENT"]
    assert pattern.names == 4
