"""Bottleneck adapters and LoRA: what is trained, what stays, and that both begin as nothing."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.train.finetuning.adapters import add_adapters, add_lora, merge_lora, num_trained


@pytest.fixture(params=["bert", "xlm-roberta"])
def task_model(request, make_model, tokenizer, tmp_path):
    """A task model with a drawn head, of 2 layers of 16, whose FFN is 24 wide."""
    checkpoint.save_checkpoint(make_model(request.param), tokenizer, tmp_path / "model")
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=2).eval()


@pytest.fixture
def logits(batch):
    """Gives a model's logits on a batch."""
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return lambda model: model(**given).logits.detach()


def head_of(model):
    """Counts the parameters that no checkpoint gives: the classifier's, and of BERT the pooler's."""
    pooler = getattr(model.base_model, "pooler", None)
    return num_trained(model.classifier) + (num_trained(pooler) if pooler is not None else 0)


def train(model, batch):
    """Takes ten steps towards the first class."""
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 1e-2)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for _ in range(10):
        optimiser.zero_grad()
        model(**given, labels=torch.zeros(3, dtype=torch.long)).loss.backward()
        optimiser.step()


def test_an_adapter_begins_as_nothing_and_is_a_sixteenth_as_wide(task_model, logits):
    before, head = logits(task_model), head_of(task_model)
    adapted = add_adapters(task_model, 16)
    assert torch.equal(logits(adapted), before)
    assert num_trained(adapted) == head + 2 * (
        16 * 1 + 1 + 1 * 16 + 16
    )  # down and up with biases, two layers


def test_adapters_learn_and_the_encoder_stays(task_model, logits, batch):
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


def test_lora_begins_as_nothing_and_ends_as_the_stock_class_that_says_the_same(task_model, logits, batch):
    stock, before, head = type(task_model), logits(task_model), head_of(task_model)
    whole = sum(one.numel() for one in task_model.parameters())
    changed = add_lora(task_model, 2)
    assert torch.allclose(logits(changed), before, atol=1e-6)
    assert num_trained(changed) == head + 2 * 2 * (16 * 2 + 2 * 16)  # two maps in each of two layers
    train(changed, batch)
    learnt = logits(changed.eval())
    assert not torch.allclose(learnt, before, atol=1e-3)
    merged = merge_lora(changed)
    assert type(merged) is stock
    assert sum(one.numel() for one in merged.parameters()) == whole
    assert torch.allclose(logits(merged), learnt, atol=1e-5)


@pytest.mark.parametrize("add", [add_adapters, add_lora])
def test_a_family_whose_layers_are_not_known_is_refused(add):
    model = torch.nn.Module()
    model.config = type("Config", (), {"model_type": "mystery"})()
    with pytest.raises(HarnessError, match=r"wanted a family .* got mystery; use method: full"):
        add(model, 2)
