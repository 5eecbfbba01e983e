"""Trimming to the tokens of a text leaves that text as it was: ids, words and logits, in five languages."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from harness.errors import HarnessError
from harness.models.loading.checkpoint import build_model, save_checkpoint
from harness.models.tokenizers import choose_requested_tokens, count_tokens, trim_vocabulary

LANGUAGES = ("mt", "sk", "sw", "hi", "he")


@pytest.fixture(scope="module", params=["wordpiece", "unigram", "bpe"])
def whole(request, shape_of, lively):
    """An encoder and its tokenizer."""
    tokenizer = request.getfixturevalue(request.param)
    family = "xlm-roberta" if request.param == "unigram" else "bert"
    changes = {"positions": 200}
    model = build_model(shape_of(family, len(tokenizer), **changes), seed=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    return lively(model), tokenizer


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("place", range(5), ids=LANGUAGES)
def test_tokens_of_a_text_suffice_for_the_text(whole, lines, tmp_path, place):
    model, tokenizer = whole
    text = lines[place]
    before = tokenizer(text).input_ids
    counts = count_tokens(tokenizer, [text])
    result = trim_vocabulary(
        model, tokenizer, choose_requested_tokens(counts, np.flatnonzero(counts), tokenizer), [text]
    )
    assert len(result.kept) < len(tokenizer)
    after = result.tokenizer(text).input_ids
    assert result.kept[after].tolist() == before
    assert result.tokenizer.decode(after) == tokenizer.decode(before)
    expected = logits(model, before)[:, torch.from_numpy(result.kept)]
    assert torch.allclose(logits(result.model, after), expected, atol=1e-5, rtol=0)
    assert result.certificate.words_unchanged_fraction == 1
    save_checkpoint(result.model, result.tokenizer, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == after


def test_rows_without_a_token_are_refused(whole):
    model, tokenizer = copy.deepcopy(whole[0]), whole[1]
    rows = len(tokenizer)
    model.resize_token_embeddings(rows + 8, mean_resizing=False)
    message = (
        f"expected a tokenizer with one id for each of the {rows + 8} embedding rows; "
        f"got {rows} ids up to {rows - 1}; use the tokenizer"
    )
    with pytest.raises(HarnessError, match=message):
        trim_vocabulary(model, tokenizer, np.arange(rows))


def test_ids_with_a_gap_are_refused(wordpiece, whole, monkeypatch):
    model, tokenizer = whole
    ids = tokenizer.get_vocab()
    last = max(ids, key=ids.__getitem__)
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda _: {**ids, last: ids[last] + 4})
    with pytest.raises(HarnessError, match=f"got {len(ids)} ids up to {ids[last] + 4}; use the tokenizer"):
        trim_vocabulary(model, tokenizer, np.arange(len(ids)))
