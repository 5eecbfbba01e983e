"""The attention used for training is put back afterwards, and computes the same."""

from __future__ import annotations

import pytest
import torch

from harness.config.shape import Shape
from harness.models.loading.checkpoint import build_model
from harness.train.trainer import fastest_attention


@pytest.fixture
def model():
    shape = Shape(family="bert", layers=2, hidden=32, heads=2, ffn=64, vocabulary=50, positions=16, types=2)
    return build_model(shape, 3).eval()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU keeps its fused kernel")
@pytest.mark.parametrize(("precision", "used"), [("bf16", "eager"), ("fp32", "sdpa")])
def test_plain_attention_is_used_on_cpu_in_bf16_alone(precision, used, model):
    assert model.config._attn_implementation == "sdpa"
    with fastest_attention(model, precision):
        assert model.config._attn_implementation == used
    assert model.config._attn_implementation == "sdpa"


def test_plain_attention_computes_the_logits_of_the_fused_kernel(model):
    batch = {
        "input_ids": torch.arange(5, 17).view(2, 6),
        "attention_mask": torch.ones(2, 6, dtype=torch.long),
    }
    batch["attention_mask"][1, 4:] = 0
    fused = model(**batch).logits
    with fastest_attention(model, "bf16"):
        plain = model(**batch).logits
    assert torch.allclose(plain[0], fused[0], atol=1e-5)
    assert torch.allclose(plain[1, :4], fused[1, :4], atol=1e-5)
