"""Which tokens stay: by share of text or documents, for several languages, in whole blocks."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.models.tokenizers import (
    balance_counts,
    choose_requested_tokens,
    choose_tokens,
    count_documents,
    count_tokens,
    select_by_coverage,
    select_by_document_frequency,
    select_by_probability,
)
from harness.models.tokenizers import vocabulary as rewriting
from harness.models.tokenizers.counted_text import CountedText


@pytest.fixture(params=["wordpiece", "unigram", "bpe"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def test_coverage_takes_the_fewest_tokens():
    counts = np.array([0, 5, 90, 4, 1, 0])
    assert select_by_coverage(counts, 0.9).tolist() == [2]
    assert select_by_coverage(counts, 0.91).tolist() == [2, 1]
    assert select_by_coverage(counts, 1).tolist() == [2, 1, 3, 4]
    for bad in (0, -0.1, 1.01):
        with pytest.raises(HarnessError, match=r"^trim: expected a share above 0 and at most 1; got"):
            select_by_coverage(counts, bad)


def test_document_counts_a_token_once(tokenizer, lines):
    documents = [lines[:2], lines[2:3], [], lines[3:9], [lines[0]] * 3]
    reports = []
    counts, number = count_documents(tokenizer, iter(documents), reports.append)
    expected = np.zeros(len(tokenizer), dtype=np.int64)
    for document in documents:
        for one in {one for line in document for one in tokenizer(line, add_special_tokens=False).input_ids}:
            expected[one] += 1
    assert np.array_equal(counts, expected)
    assert number == 5
    assert reports == [5]
    assert counts.max() > 1
    assert (
        select_by_document_frequency(counts, number, 0.4).tolist() == np.flatnonzero(expected >= 2).tolist()
    )
    assert select_by_document_frequency(counts, number, 1e-9).tolist() == np.flatnonzero(expected).tolist()


def test_balanced_languages_weigh_alike():
    small, large = np.array([0, 3, 1, 0]), np.array([1000, 0, 0, 9000])
    both = balance_counts([small, large])
    assert np.argsort(-both).tolist() == [3, 1, 2, 0]
    assert both.sum() == pytest.approx(2e12)
    for bad in ([], [small, np.zeros(4, np.int64)]):
        with pytest.raises(HarnessError, match=r"^trim: expected text of each language; got"):
            balance_counts(bad)


@pytest.mark.parametrize("multiple", [1, 8, 64])
def test_requested_tokens_stay_and_size_is_a_multiple(tokenizer, lines, multiple):
    counts = count_tokens(tokenizer, lines[:5])
    expected = select_by_coverage(counts, 0.8)
    kept = choose_requested_tokens(counts, expected, tokenizer, multiple=multiple)
    spec = rewriting.read(tokenizer)
    assert set(expected.tolist()) | set(rewriting.required(tokenizer, spec).tolist()) <= set(kept.tolist())
    assert len(kept) % multiple == 0 or len(kept) == len(tokenizer)
    assert np.array_equal(kept, np.unique(kept))
    merged = rewriting.parents(spec)
    assert all(set(merged[one]) <= set(kept.tolist()) for one in kept.tolist() if one in merged)


def test_multiple_above_the_vocabulary_keeps_everything(wordpiece):
    counts = np.zeros(len(wordpiece), np.int64)
    assert len(choose_requested_tokens(counts, [9], wordpiece, multiple=10**6)) == len(wordpiece)
    with pytest.raises(HarnessError, match=r"^trim: expected a multiple of 1 or more; got 0; use 64"):
        choose_requested_tokens(counts, [9], wordpiece, multiple=0)


def test_probability_is_a_share_of_all_tokens():
    counts = np.array([0, 5, 90, 4, 1, 0])
    assert select_by_probability(counts, 0.04).tolist() == [1, 2, 3]
    assert select_by_probability(counts, 0.0401).tolist() == [1, 2]
    assert select_by_probability(counts, 1e-9).tolist() == [1, 2, 3, 4], "no token that the text lacks"


def test_most_frequent_of_too_many_requested_tokens_stay(wordpiece, lines):
    counts = count_tokens(wordpiece, lines)
    requested = select_by_coverage(counts, 0.9)
    whole, few = (choose_requested_tokens(counts, requested, wordpiece, most=most) for most in (None, 20))
    assert len(few) == 20 < len(whole)
    assert few.tolist() == choose_tokens(counts, 20, wordpiece).tolist()
    assert choose_requested_tokens(counts, requested, wordpiece, most=10**6).tolist() == whole.tolist()
    with pytest.raises(HarnessError, match=r"^trim: expected at least the 5 special tokens .*; got 2; ask"):
        choose_requested_tokens(counts, requested, wordpiece, most=2)


def select_by_hand(tokenizer, documents, rule, share):
    """Return the ids that a rule chooses, counted one by one."""
    lines = [[encode(tokenizer, line) for line in document] for document in documents]
    units = {
        "probability": [[one] for document in lines for line in document for one in line],
        "line_fraction": [line for document in lines for line in document],
        "document_fraction": [[one for line in document for one in line] for document in lines],
    }[rule]
    counts = np.bincount([one for unit in units for one in set(unit)], minlength=len(tokenizer))
    return {one for one, count in enumerate(counts) if count and count >= share * len(units)}


def encode(tokenizer, line):
    return tokenizer(line, add_special_tokens=False).input_ids


@pytest.mark.parametrize(
    ("rule", "share"), [("probability", 0.02), ("line_fraction", 0.25), ("document_fraction", 0.5)]
)
def test_rule_keeps_what_one_of_the_languages_uses(tokenizer, lines, rule, share):
    languages = [[lines[:2], lines[2:3]], [lines[3:6], [lines[6]] * 3]]
    reports = []
    text = CountedText(
        tokenizer, [lambda one=one: iter(one) for one in languages], lambda *values: reports.append(values)
    )
    expected = set().union(*(select_by_hand(tokenizer, one, rule, share) for one in languages))
    kept = set(text.choose(rule, share).tolist())
    assert expected <= kept
    characters = {one for group in languages for document in group for line in document for one in line}
    free = choose_requested_tokens(count_tokens(tokenizer, []), sorted(expected), tokenizer, characters)
    assert kept == set(free.tolist()), "nothing else but what must stay"
    assert reports[-1][0] == reports[-1][1]
    assert {unit for *_, unit in reports} <= {"lines", "documents"}


def test_coverage_of_two_languages_weighs_them_alike(wordpiece, lines):
    languages = [[lines[:1]], [lines[1:] * 5]]
    text = CountedText(wordpiece, [lambda one=one: one for one in languages])
    balanced = balance_counts([count_tokens(wordpiece, one[0]) for one in languages])
    assert set(select_by_coverage(balanced, 0.7).tolist()) <= set(text.choose("coverage", 0.7).tolist())
    most = len(text.choose("coverage", 0.7)) - 3
    few = text.choose("coverage", 0.7, most)
    assert few.tolist() == text.choose_number(most).tolist()
    assert len(few) == most


def test_preferred_tokens_come_before_frequent_tokens(wordpiece):
    counts = np.arange(len(wordpiece))
    assert choose_tokens(counts, 7, wordpiece, preferred=[50, 60]).tolist() == [0, 1, 2, 3, 4, 50, 60]
