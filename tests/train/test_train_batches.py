"""Masked batches: the contents of each item, and the amount of all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from harness.data.batches import Packed
from harness.errors import HarnessError
from harness.train.language_model.batches import MaskedBatches, hash_seed


def unmask(item):
    """Return each row's ids as they were before masking."""
    ids_BL = torch.where(item["labels"] == -100, item["input_ids"], item["labels"])
    return [
        tuple(ids[mask.bool()].tolist()) for ids, mask in zip(ids_BL, item["attention_mask"], strict=True)
    ]


def equal_batches(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_depends_on_corpus_seed_and_index_alone(packed, tokenizer, make_budget):
    budget = make_budget(tokens=6000)
    forwards, backwards = (MaskedBatches(packed, tokenizer, budget) for _ in range(2))
    assert len(forwards._starts) > 3, "several passes over the corpus"
    batches = {index: backwards[index] for index in reversed(range(len(backwards)))}
    torch.manual_seed(99)
    for index in range(len(forwards)):
        assert equal_batches(forwards[index], batches[index])


def test_another_seed_changes_batches_and_masks(packed, tokenizer, make_budget):
    one, other = (MaskedBatches(packed, tokenizer, make_budget(seed=seed)) for seed in (1, 2))
    assert not equal_batches(one[0], other[0])


def test_passes_mask_a_row_differently(packed, tokenizer, make_budget):
    stream = MaskedBatches(packed, tokenizer, make_budget(tokens=12_000, batch_tokens=192))
    places = {}
    for index in range(len(stream)):
        item = stream[index]
        for row, labels in zip(unmask(item), item["labels"], strict=True):
            places.setdefault(row, []).append(tuple(torch.nonzero(labels != -100).flatten().tolist()))
    longest = max(places, key=len)
    assert len(places[longest]) > 4
    assert len(set(places[longest])) > 1


@pytest.mark.parametrize("device_tokens", [None, 24, 48])
@pytest.mark.parametrize("tokens", [48, 1000, 3000])
def test_tokens_exceed_the_budget_by_less_than_a_step(tokens, device_tokens, packed, tokenizer, make_budget):
    budget = make_budget(tokens=tokens, device_tokens=device_tokens)
    stream = MaskedBatches(packed, tokenizer, budget)
    items = [stream[index] for index in range(len(stream))]
    attended = sum(int(item["attention_mask"].sum()) for item in items)
    assert tokens <= attended < tokens + budget.batch_tokens
    assert max(item["input_ids"].numel() for item in items) <= budget.micro_tokens
    steps = -(-len(stream) // budget.accumulation)
    assert stream.tokens_at(steps) == attended
    assert stream.tokens_at(0) == 0
    first = sum(int(item["attention_mask"].sum()) for item in items[: budget.accumulation])
    assert stream.tokens_at(1) == first


def test_a_pass_contains_each_row_once(packed, tokenizer, make_budget):
    stream = MaskedBatches(packed, tokenizer, make_budget(tokens=5000))
    counts = Counter(
        row for index in range(stream._starts[1], stream._starts[2]) for row in unmask(stream[index])
    )
    assert counts == Counter(tuple(packed[index].tolist()) for index in range(len(packed)))


def test_words_alone_are_masked_by_the_fraction(packed, tokenizer, make_budget):
    stream = MaskedBatches(packed, tokenizer, make_budget(tokens=12_000, batch_tokens=192, mask_fraction=0.3))
    chosen_total = hidden = words = 0
    for index in range(len(stream)):
        item = stream[index]
        chosen = item["labels"] != -100
        assert not torch.isin(item["labels"][chosen], torch.tensor(tokenizer.all_special_ids)).any()
        chosen_total += int(chosen.sum())
        hidden += int((item["input_ids"] == tokenizer.mask_token_id).sum())
        words += int(item["attention_mask"].sum()) - 2 * len(item["labels"])
    assert chosen_total / words == pytest.approx(0.3, abs=0.03)
    assert hidden / chosen_total == pytest.approx(0.8, abs=0.04)


def test_a_corpus_without_text_is_refused(tokenizer, make_budget):
    empty = Packed(np.zeros(0, np.int32), np.zeros(1, np.int64))
    with pytest.raises(HarnessError, match="training: expected a corpus with text; got none"):
        MaskedBatches(empty, tokenizer, make_budget())


def test_hash_seed_separates_close_numbers():
    seeds = {hash_seed(1, 2, index) for index in range(200)} | {
        hash_seed(index, 2, 1) for index in range(200)
    }
    assert len(seeds) == 399
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("device_tokens", "accumulation", "micro_tokens"),
    [(None, 1, 96), (96, 1, 96), (500, 1, 96), (95, 2, 48), (40, 3, 32)],
)
def test_a_large_batch_is_split_into_equal_micro_batches(
    device_tokens, accumulation, micro_tokens, make_budget
):
    budget = make_budget(batch_tokens=96, device_tokens=device_tokens)
    assert (budget.accumulation, budget.micro_tokens) == (accumulation, micro_tokens)
