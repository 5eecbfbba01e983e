"""Bottleneck adapters and LoRA: the trained parameters, and that both begin without effect."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.train.finetuning.adapters import add_adapters, add_lora, count_trained, merge_lora


@pytest.fixture(params=["bert", "xlm-roberta"])
def task_model(request, make_model, tokenizer, tmp_path):
    """A task model with a drawn head, of 2 layers of 16, whose FFN is 24 wide."""
    checkpoint.save_checkpoint(make_model(request.param), tokenizer, tmp_path / "model")
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=2).eval()


@pytest.fixture
def logits(batch):
    """Return a function that computes a model's logits on a batch."""
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return lambda model: model(**given).logits.detach()


def count_head(model):
    """Count the parameters that are not in the checkpoint: the classifier's, and BERT's pooler's."""
    pooler = getattr(model.base_model, "pooler", None)
    return count_trained(model.classifier) + (count_trained(pooler) if pooler is not None else 0)


def train(model, batch):
    """Take ten steps towards the first class."""
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 1e-2)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for _ in range(10):
        optimiser.zero_grad()
        model(**given, labels=torch.zeros(3, dtype=torch.long)).loss.backward()
        optimiser.step()


def test_a_new_adapter_changes_no_logit(task_model, logits):
    before, head = logits(task_model), count_head(task_model)
    adapted = add_adapters(task_model, 16)
    assert torch.equal(logits(adapted), before)
    assert count_trained(adapted) == head + 2 * (
        16 * 1 + 1 + 1 * 16 + 16
    )  # down and up with biases, two layers


def test_training_adapters_leaves_the_encoder_unchanged(task_model, logits, batch):
    frozen = {name: value.clone() for name, value in task_model.base_model.state_dict().items()}
    before = logits(task_model)
    adapted = add_adapters(task_model, 4)
    train(adapted, batch)
    assert (logits(adapted)[:, 0] - logits(adapted)[:, 1] > before[:, 0] - before[:, 1]).all()
    after = {name.replace(".inner", ""): value for name, value in adapted.base_model.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in frozen.items() if "pooler" not in name)
    ups = [value for name, value in after.items() if name.endswith("up.weight")]
    assert len(ups) == 2
    assert all(up.abs().sum() > 0 for up in ups)


def test_lora_merges_into_the_stock_class(task_model, logits, batch):
    stock, before, head = type(task_model), logits(task_model), count_head(task_model)
    whole = sum(one.numel() for one in task_model.parameters())
    changed = add_lora(task_model, 2)
    assert torch.allclose(logits(changed), before, atol=1e-6)
    assert count_trained(changed) == head + 2 * 2 * (16 * 2 + 2 * 16)  # two maps in each of two layers
    train(changed, batch)
    trained = logits(changed.eval())
    assert not torch.allclose(trained, before, atol=1e-3)
    merged = merge_lora(changed)
    assert type(merged) is stock
    assert sum(one.numel() for one in merged.parameters()) == whole
    assert torch.allclose(logits(merged), trained, atol=1e-5)


@pytest.mark.parametrize("add", [add_adapters, add_lora])
def test_an_unknown_family_is_refused(add):
    model = torch.nn.Module()
    model.config = type("Config", (), {"model_type": "mystery"})()
    with pytest.raises(HarnessError, match=r"expected a family .* got mystery; use method: full"):
        add(model, 2)
