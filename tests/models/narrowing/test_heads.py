"""Narrowing with a choice: important dimensions, and heads by the best low-rank form of what they compute."""

from __future__ import annotations

import copy

import pytest
import torch

from harness.errors import HarnessError
from harness.models.families.table import find_layout
from harness.models.surgery.axes import narrow
from harness.models.surgery.importance import keep_top, measure_hidden_importance


def logits(model, batch):
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def attention(model, number):
    return model.get_submodule(f"{find_layout(model).layers}.{number}.attention")


def products(layer, heads, columns):
    """Return each head's scores QᵀK (by its divisor) and what it writes OV, biases included."""
    maps = {
        name: torch.cat([getattr(layer.self, name).weight, getattr(layer.self, name).bias[:, None]], 1)
        for name in ("query", "key", "value")
    }
    query, key, value = (maps[name].unflatten(0, (heads, -1)).double() for name in ("query", "key", "value"))
    out = layer.output.dense.weight.double().unflatten(1, (heads, -1)).movedim(1, 0)
    scores, written = query.mT @ key * layer.self.scaling, out @ value
    columns = torch.cat([columns, torch.tensor([-1])])
    return scores[:, columns][:, :, columns], written[:, columns[:-1]][:, :, columns]


def test_svd_of_whole_heads_is_lossless(encoder, batch):
    same = narrow(encoder.model, 24, 4, within="svd")
    assert torch.equal(logits(same, batch), logits(encoder.model, batch))


def test_svd_is_lossless_where_a_head_uses_few_dimensions(encoder):
    """Turning the dimensions of a head of rank 3 leaves nothing for `first` to keep; `svd` keeps it all."""
    model = copy.deepcopy(encoder.model)
    layer = attention(model, 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in ("query", "value"):
            linear = getattr(layer.self, name)
            for head in range(4):
                rows = slice(6 * head, 6 * head + 6)
                turn = torch.randn(6, 3, generator=generator)
                linear.weight[rows] = turn @ linear.weight[rows][:3]
                linear.bias[rows] = turn @ linear.bias[rows][:3]
    kept = torch.arange(12)
    expected = products(layer, 4, kept)
    for within, fits in (("svd", True), ("first", False)):
        computed = products(attention(narrow(model, 12, 4, within=within), 1), 4, kept)
        close = [torch.allclose(one, two, atol=1e-4) for one, two in zip(computed, expected, strict=True)]
        assert close == [fits, fits]


def test_svd_is_at_least_as_near_as_first_dimensions(encoder):
    kept = torch.arange(12)
    expected = products(attention(encoder.model, 0), 4, kept)
    gaps = {}
    for within in ("first", "svd"):
        computed = products(attention(narrow(encoder.model, 12, 4, within=within), 0), 4, kept)
        gaps[within] = [
            torch.linalg.matrix_norm(one - two) for one, two in zip(computed, expected, strict=True)
        ]
    assert all((better < worse).all() for better, worse in zip(gaps["svd"], gaps["first"], strict=True))


@pytest.mark.parametrize("kind", ["magnitude", "taylor"])
def test_dead_dimension_is_least_important(encoder, batch, kind):
    model = copy.deepcopy(encoder.model)
    family = find_layout(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for place, axis in enumerate(family.locate(name)[1]):
                if axis == "D":
                    parameter.index_fill_(place, torch.tensor([5]), 0)
    score = measure_hidden_importance(model, [batch], kind)
    assert score.shape == (24,)
    assert score[5] == 0
    assert (score > 0).sum() == 23
    kept = keep_top([score], 18)[0]
    assert 5 not in kept
    assert narrow(model, 18, 3, basis=kept).config.hidden_size == 18


def test_taylor_of_dimensions_equals_the_loss_gradient(encoder, batch):
    model = copy.deepcopy(encoder.model).double().eval()
    family = find_layout(model)
    score = measure_hidden_importance(model, [batch], "taylor")
    places = [family.residual[0]] + [
        f"{family.layers}.{n}.{one}" for n in range(3) for one in family.residual[1:]
    ]
    total = 0.0
    for place in places:
        losses = []
        for step in (1e-5, -1e-5):
            gate_D = torch.ones(24, dtype=torch.float64).index_fill(0, torch.tensor([7]), 1 + step)
            module = model.get_submodule(place)
            hook = module.register_forward_hook(lambda _, __, output, gate_D=gate_D: output * gate_D)
            with torch.no_grad():
                losses.append(float(model(**batch).loss))
            hook.remove()
        total += abs(losses[0] - losses[1]) / 2e-5
    assert float(score[7]) == pytest.approx(total, rel=1e-4)


def test_unknown_modes_are_refused(encoder, batch):
    with pytest.raises(HarnessError, match="unknown way to narrow a head 'last'; there are: first, svd"):
        narrow(encoder.model, 12, 4, within="last")
    with pytest.raises(
        HarnessError, match=r"unknown importance criterion 'noise'; there are: magnitude, taylor, taylor_l"
    ):
        measure_hidden_importance(encoder.model, [batch], "noise")
