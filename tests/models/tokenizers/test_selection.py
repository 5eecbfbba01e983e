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
)
from harness.models.tokenizers import vocabulary as rewriting


@pytest.fixture(params=["wordpiece", "unigram", "bpe"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def test_a_share_of_the_text_is_covered_by_the_fewest_tokens():
    counts = np.array([0, 5, 90, 4, 1, 0])
    assert select_by_coverage(counts, 0.9).tolist() == [2]
    assert select_by_coverage(counts, 0.91).tolist() == [2, 1]
    assert select_by_coverage(counts, 1).tolist() == [2, 1, 3, 4]
    for bad in (0, -0.1, 1.01):
        with pytest.raises(HarnessError, match=r"^trim: wanted a share above 0 and at most 1; got"):
            select_by_coverage(counts, bad)


def test_documents_count_a_token_once(tokenizer, lines):
    documents = [lines[:2], lines[2:3], [], lines[3:9], [lines[0]] * 3]
    told = []
    counts, number = count_documents(tokenizer, iter(documents), told.append)
    wanted = np.zeros(len(tokenizer), dtype=np.int64)
    for document in documents:
        for one in {one for line in document for one in tokenizer(line, add_special_tokens=False).input_ids}:
            wanted[one] += 1
    assert np.array_equal(counts, wanted)
    assert number == 5
    assert told == [5]
    assert counts.max() > 1
    assert select_by_document_frequency(counts, number, 0.4).tolist() == np.flatnonzero(wanted >= 2).tolist()
    assert select_by_document_frequency(counts, number, 1e-9).tolist() == np.flatnonzero(wanted).tolist()


def test_languages_of_unequal_text_count_alike():
    small, large = np.array([0, 3, 1, 0]), np.array([1000, 0, 0, 9000])
    both = balance_counts([small, large])
    assert np.argsort(-both).tolist() == [3, 1, 2, 0]
    assert both.sum() == pytest.approx(2e12)
    for bad in ([], [small, np.zeros(4, np.int64)]):
        with pytest.raises(HarnessError, match=r"^trim: wanted text of each language; got"):
            balance_counts(bad)


@pytest.mark.parametrize("multiple", [1, 8, 64])
def test_wanted_tokens_stay_and_sizes_are_whole_blocks(tokenizer, lines, multiple):
    counts = count_tokens(tokenizer, lines[:5])
    wanted = select_by_coverage(counts, 0.8)
    kept = choose_requested_tokens(counts, wanted, tokenizer, multiple=multiple)
    spec = rewriting.read(tokenizer)
    assert set(wanted.tolist()) | set(rewriting.required(tokenizer, spec).tolist()) <= set(kept.tolist())
    assert len(kept) % multiple == 0 or len(kept) == len(tokenizer)
    assert np.array_equal(kept, np.unique(kept))
    merged = rewriting.parents(spec)
    assert all(set(merged[one]) <= set(kept.tolist()) for one in kept.tolist() if one in merged)


def test_a_block_larger_than_the_vocabulary_keeps_everything(wordpiece):
    counts = np.zeros(len(wordpiece), np.int64)
    assert len(choose_requested_tokens(counts, [9], wordpiece, multiple=10**6)) == len(wordpiece)
    with pytest.raises(HarnessError, match=r"^trim: wanted a multiple of 1 or more; got 0; say 64"):
        choose_requested_tokens(counts, [9], wordpiece, multiple=0)


def test_wanted_tokens_come_before_more_frequent_ones(wordpiece):
    counts = np.arange(len(wordpiece))
    assert choose_tokens(counts, 7, wordpiece, wanted=[50, 60]).tolist() == [0, 1, 2, 3, 4, 50, 60]
