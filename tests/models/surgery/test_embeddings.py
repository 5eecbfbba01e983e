"""Thin embeddings in a stock class: fewer parameters, nearer the wider they are."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, ElectraForMaskedLM

from harness.errors import HarnessError
from harness.models.families.table import is_tied
from harness.models.loading.checkpoint import build_model, save_checkpoint
from harness.models.size import count_parameters, sum_parts
from harness.models.surgery.embeddings import factorize_embeddings


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, wordpiece, shape_of, lively):
    return lively(build_model(shape_of("bert", len(wordpiece), tied=request.param), seed=1))


@pytest.fixture
def sample(wordpiece, lines):
    tokens = [wordpiece(lines[at : at + 8], return_tensors="pt", padding=True) for at in range(0, 40, 8)]
    return [{name: one[name][:, :36] for name in ("input_ids", "attention_mask")} for one in tokens]


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits[batch["attention_mask"].bool()]


def error(small, model, batches):
    pairs = [(logits(small, one), logits(model, one)) for one in batches]
    gaps = [one - one.mean(1, keepdim=True) - two + two.mean(1, keepdim=True) for one, two in pairs]
    return float(torch.cat(gaps).square().mean() / torch.cat([two for _, two in pairs]).var())


def test_wider_embeddings_are_nearer(model, sample):
    errors = [error(factorize_embeddings(model, width, sample), model, sample) for width in (4, 12, 22)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5


def test_factorized_model_is_stock_and_has_its_size(model, sample, wordpiece, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = factorize_embeddings(model, 10, sample)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert is_tied(small) == is_tied(model)
    vocabulary, parts, layers = len(wordpiece), count_parameters(small), count_parameters(model)
    assert parts["embeddings"].parameters == (vocabulary + 40 + 2) * 10 + 2 * 10 + 10 * 24 + 24
    assert parts["ffn"] == layers["ffn"]
    assert sum_parts(parts).parameters == sum(one.numel() for one in small.parameters())
    save_checkpoint(small, wordpiece, tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert isinstance(again, ElectraForMaskedLM)
    assert torch.equal(logits(again, sample[0]), logits(small, sample[0]))
    assert AutoTokenizer.from_pretrained(tmp_path)("il-kelb").input_ids == wordpiece("il-kelb").input_ids


def test_unfit_requests_are_refused(model, sample, shape_of, unigram):
    for width in (0, 24):
        with pytest.raises(
            HarnessError, match=f"^factorise: expected embeddings of 1 to 23, .* got {width};"
        ):
            factorize_embeddings(model, width, sample)
    other = build_model(shape_of("xlm-roberta", len(unigram)), seed=1)
    with pytest.raises(
        HarnessError, match=r"^factorise: expected a bert encoder, .* got xlm-roberta; narrow"
    ):
        factorize_embeddings(other, 10, sample)
    with pytest.raises(HarnessError, match="expected batches of corpus text; got none"):
        factorize_embeddings(model, 10, [])
