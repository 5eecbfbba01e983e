"""The pseudo-log-likelihood of a sentence is the sum of what the model says of each masked token."""

from __future__ import annotations

import pytest
import torch

from harness.errors import HarnessError
from harness.measure import pseudo_likelihood
from harness.measure.pseudo_likelihood import measure_pseudo_likelihoods


@torch.no_grad()
def add_up_by_hand(model, tokenizer, sentence):
    encoded = tokenizer(sentence, return_tensors="pt")
    ids, words, total = encoded["input_ids"], encoded.word_ids(), 0.0
    for place, word in enumerate(words):
        if word is None:
            continue
        masked = ids.clone()
        for later in range(place, len(words)):
            if words[later] == word:
                masked[0, later] = tokenizer.mask_token_id
        logits = model(input_ids=masked, attention_mask=encoded["attention_mask"]).logits[0, place]
        total += float(logits.float().log_softmax(-1)[ids[0, place]])
    return total


def test_each_token_is_masked_with_the_rest_of_its_word(model, tokenizer, lines, monkeypatch):
    sentences = [" ".join(line.split()[:5]) for line in lines[:3]]
    done = []
    measured = measure_pseudo_likelihoods(model, tokenizer, sentences, max_tokens=38, report=done.append)
    expected = [add_up_by_hand(model, tokenizer, sentence) for sentence in sentences]
    assert measured == pytest.approx(expected, rel=1e-4)
    assert done == [1, 2, 3]
    monkeypatch.setattr(pseudo_likelihood, "_BATCH_TOKENS", 1)
    singly = measure_pseudo_likelihoods(model, tokenizer, sentences[:1], max_tokens=38)
    assert singly == pytest.approx(measured[:1], rel=1e-4)


def test_sentences_that_do_not_fit_are_refused(model, tokenizer, lines):
    for sentence, length in ((" ".join(lines[:3]), 8), ("", 8)):
        with pytest.raises(HarnessError, match=r"pairs: expected sentences of 1 to 8 tokens; got \d+ in"):
            measure_pseudo_likelihoods(model, tokenizer, [sentence], max_tokens=length)
