"""Scores: a neuron that does nothing scores zero; the Taylor score is the first-order change of the loss."""

from __future__ import annotations

import copy

import pytest
import torch

from harness.errors import HarnessError
from harness.models.families.table import find_layout
from harness.models.surgery import importance as scores
from harness.models.surgery.importance import keep_top, measure_ffn_importance
from harness.ops import linear_gelu_linear


@pytest.mark.parametrize("kind", ["magnitude", "taylor"])
def test_neuron_without_output_has_no_importance(encoder, batch, kind):
    family = find_layout(encoder.model)
    ffn_out = encoder.model.get_submodule(f"{family.layers}.1.{family.ffn_out}")
    column = ffn_out.weight[:, 7].detach().clone()
    try:
        ffn_out.weight.data[:, 7] = 0
        scores = measure_ffn_importance(encoder.model, [batch], kind)
    finally:
        ffn_out.weight.data[:, 7] = column
    assert [tuple(score.shape) for score in scores] == [(30,)] * 3
    assert scores[1][7] == 0
    assert all((score > 0).sum() >= 29 for score in scores)


def test_magnitude_is_the_product_of_norms(encoder):
    family = find_layout(encoder.model)
    layer = encoder.model.get_submodule(f"{family.layers}.2")
    ffn_in, ffn_out = layer.get_submodule(family.ffn_in), layer.get_submodule(family.ffn_out)
    expected = ffn_in.weight[3].norm() * ffn_out.weight[:, 3].norm()
    assert torch.isclose(measure_ffn_importance(encoder.model, [], "magnitude")[2][3], expected)


def test_taylor_of_neurons_equals_the_loss_gradient(encoder, batch):
    """|Σ h ∂L/∂h| is |dL/dgate| at gate 1, measured here by differences in float64."""
    model = type(encoder.model)(encoder.model.config).double().eval()
    model.load_state_dict({name: value.double() for name, value in encoder.model.state_dict().items()})
    family = find_layout(model)
    gate_F = torch.ones(30, dtype=torch.float64)
    ffn_out = model.get_submodule(f"{family.layers}.0.{family.ffn_out}")
    scores = measure_ffn_importance(model, [batch], "taylor")[0]
    hook = ffn_out.register_forward_pre_hook(lambda _, inputs: (inputs[0] * gate_F,))
    for neuron in (0, 11, 29):
        losses = []
        for step in (1e-5, -1e-5):
            gate_F[neuron] = 1 + step
            with torch.no_grad():
                losses.append(model(**batch).loss)
        gate_F[neuron] = 1
        assert torch.isclose(scores[neuron], ((losses[0] - losses[1]) / 2e-5).abs(), rtol=1e-4, atol=1e-9)
    hook.remove()


def test_taylor_logits_uses_the_models_predictions(encoder, batch):
    """Labels choose the places, if there are any; their values are not read."""
    with torch.no_grad():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        guesses = encoder.model(**inputs).logits.argmax(-1)
    for asked, given in (
        (batch["labels"] != -100, batch),
        (batch["attention_mask"].bool(), inputs),
    ):
        expected = measure_ffn_importance(
            encoder.model, [inputs | {"labels": guesses.masked_fill(~asked, -100)}], "taylor"
        )
        computed = measure_ffn_importance(encoder.model, [given], "taylor_logits")
        assert all(torch.equal(one, two) for one, two in zip(computed, expected, strict=True))


def hooks(model):
    return [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()]


def test_op_and_hooks_agree(encoder, batch):
    """The op's backward and hooks measure the same importance."""
    fused = measure_ffn_importance(encoder.model, [batch, batch], "taylor")
    watched = [ffn_out for _, ffn_out in scores._ffn_maps(encoder.model)]
    seen = scores._measure_taylor(encoder.model, [batch, batch], watched, criterion="taylor")
    for one, two in zip(fused, seen, strict=True):
        assert torch.allclose(one, two, rtol=2e-4, atol=1e-7)


def test_ffn_importance_comes_from_the_op(encoder, batch, monkeypatch):
    asked = []

    def op(x, *weights, importance):
        asked.append(importance)
        return linear_gelu_linear(x, *weights, importance=importance)

    monkeypatch.setattr(scores, "linear_gelu_linear", op)
    computed = measure_ffn_importance(encoder.model, [batch], "taylor")
    assert [one.data_ptr() for one in asked] == [one.data_ptr() for one in computed]
    assert not any("forward" in vars(module) for module in encoder.model.modules())


def test_other_activations_are_measured_by_hooks(encoder, batch, monkeypatch):
    monkeypatch.setattr(scores, "linear_gelu_linear", None)
    monkeypatch.setattr(encoder.model.config, "hidden_act", "relu")
    assert all((one > 0).any() for one in measure_ffn_importance(encoder.model, [batch], "taylor"))


def test_taylor_sums_over_batches_and_keeps_the_model(encoder, batch):
    model = copy.deepcopy(encoder.model).train()
    watched = hooks(model)
    next(model.parameters()).requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    once = measure_ffn_importance(model, [batch], "taylor")
    with torch.no_grad():
        twice = measure_ffn_importance(model, iter([batch, batch]), "taylor")
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert hooks(model) == watched
    assert all(torch.allclose(2 * one, two) for one, two in zip(once, twice, strict=True))


def test_padding_does_not_count(encoder, batch):
    longer = {
        name: torch.nn.functional.pad(value, (0, 3), value=-100 if name == "labels" else 0)
        for name, value in batch.items()
    }
    pad = encoder.tokenizer.pad_token_id
    longer["input_ids"] = longer["input_ids"].masked_fill(longer["attention_mask"] == 0, pad)
    pairs = zip(
        *(measure_ffn_importance(encoder.model, [one], "taylor") for one in (batch, longer)), strict=True
    )
    assert all(torch.allclose(one, two, rtol=1e-3, atol=1e-6) for one, two in pairs)


def test_keep_top_is_ordered_and_breaks_ties_by_index():
    scores = [torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]), torch.zeros(5)]
    assert [kept.tolist() for kept in keep_top(scores, 2)] == [[1, 2], [0, 1]]


@pytest.mark.parametrize("width", [0, 6])
def test_impossible_width_is_refused(width):
    with pytest.raises(HarnessError, match=f"expected 1 to 5 neurons a layer; got {width}; choose another"):
        keep_top([torch.zeros(5)], width)


def test_bad_batches_are_refused(encoder, batch):
    with pytest.raises(HarnessError, match=r"^importance: expected batches of corpus text; got none"):
        measure_ffn_importance(encoder.model, [], "taylor")
    with pytest.raises(HarnessError, match=r"^importance: expected batches with labels; got none"):
        measure_ffn_importance(encoder.model, [{"input_ids": batch["input_ids"]}], "taylor")
    with pytest.raises(HarnessError, match=r"unknown importance criterion 'noise'; there are: magnitude"):
        measure_ffn_importance(encoder.model, [batch], "noise")
