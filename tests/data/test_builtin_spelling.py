from __future__ import annotations

import pytest

from harness.data.builtin.spelling import adapt, capital, join, read_rules

RULES = {
    "elide": {"le": "l'", "ce": "cet", "before": "aeiouhé"},
    "assimilate": [
        {
            "literal": "il-",
            "consonants": {"s": "is-", "x": "ix-"},
            "vowels": "l-",
            "vowel_letters": ["a", "għ"],
        },
        {"literal": "tal-", "consonants": {"s": "tas-"}, "vowels": "tal-", "vowel_letters": "aeiou"},
    ],
}


@pytest.mark.parametrize(
    ("word", "following", "expected"),
    [
        ("le", "hôtel", "l'"),
        ("Le", "École", "L'"),
        ("le", "train", "le"),
        ("ce", "avion", "cet"),
        ("il-", "sptar", "is-"),
        ("Il-", "Xogħol", "Ix-"),
        ("il-", "għalliem", "l-"),
        ("il-", "gvern", "il-"),
        ("tal-", "sptar", "tas-"),
    ],
)
def test_function_words_follow_the_onset_of_the_next(word, following, expected):
    words = [word, following]
    adapt(words, ["DET", "NOUN"], read_rules(RULES))
    assert words == [expected, following]


def test_names_and_content_words_do_not_change():
    words = ["Le", "Indre"]
    adapt(words, ["PROPN", "PROPN"], read_rules(RULES))
    assert words == ["Le", "Indre"]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("L'|DET île|NOUN ,|PUNCT est|AUX -ce|PRON beau|ADJ ?|PUNCT", "L'île, est-ce beau?"),
        ("is-|DET sptar|NOUN –|PUNCT «|PUNCT tajjeb|ADJ »|PUNCT", "is-sptar – «tajjeb»"),
        ("l'|DET L'Équipe|PROPN .|PUNCT", "l'L'Équipe."),
        ("Paul|PROPN 's|PART dogs|NOUN -|PUNCT", "Paul's dogs-"),
    ],
)
def test_glue(tokens, expected):
    pairs = [token.rsplit("|", 1) for token in tokens.split()]
    assert join([word for word, _ in pairs], [tag for _, tag in pairs]) == expected


def test_capitals_leave_scripts_without_them_alone():
    assert [capital(word) for word in ("élan", "שלום", "नमस्ते")] == ["Élan", "שלום", "नमस्ते"]
