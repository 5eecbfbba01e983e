"""Layers that learn one after another: whose turn it is, at which rate, and what stays."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from harness.errors import HarnessError
from harness.train.language_model.layer_by_layer import LayerByLayer
from harness.train.language_model.training import train
from harness.train.losses.objective import Objective, total_loss

LAYERS = Objective({"feature_mse": 1.0, "attention_kl": 1.0})


class InterruptError(Exception):
    """Stand in for whatever ends a process."""


@pytest.fixture
def run(make_model, tokenizer, packed, make_budget, tmp_path):
    """Return a function that trains a student layer by layer, and returns it."""

    def run(below=0.0, callbacks=(), progress=lambda *_: None, folder="out", **changes):
        student = make_model(seed=1)
        teacher = make_model(seed=2)
        train(
            student, tokenizer, packed, objective=LAYERS, teacher=teacher, progressive=below,
            budget=make_budget(tokens=480, checkpoint_s=0.0, **changes), folder=tmp_path / folder,
            progress=progress, callbacks=callbacks,
        )  # fmt: skip
        return student

    return run


def test_each_layer_has_its_steps_and_its_own_rise_and_fall(make_model):
    order = LayerByLayer(make_model(layers=3), 0.1, warmup_fraction=0.5)
    assert [order.find_layer(step, 8) for step in range(9)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    rates = [order.compute_rate(step, 12) for step in range(12)]
    assert rates == [1 / 3, 2 / 3, 1, 1 / 2] * 3


def test_only_the_learning_layer_is_compared(make_model, batch):
    student, teacher = make_model(seed=1), make_model(seed=2)
    loss = Objective({"feature_mse": 1.0})
    both, *single = (
        total_loss(replace(loss, only_layer=layer), student, teacher, batch)[0].item()
        for layer in (None, 1, 2)
    )
    assert both == pytest.approx(sum(single) / 2)
    assert single[0] != single[1]


def test_what_is_below_moves_a_tenth_of_the_way(make_model):
    models = [make_model(seed=1), make_model(seed=1)]
    before = copy.deepcopy(models[0].state_dict())
    order, state = LayerByLayer(models[0], 0.1, 0.0), SimpleNamespace(global_step=1, max_steps=2)
    for model, callback in zip(models, (order, None), strict=True):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
        model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
        if callback:
            callback.on_pre_optimizer_step(None, state, None, model=model)
        optimizer.step()
        if callback:
            callback.on_optimizer_step(None, state, None, model=model)
    part, whole = (model.state_dict() for model in models)
    for name, value in before.items():
        share = 0.1 if ".layer.0." in name or "embeddings" in name or "decoder.weight" in name else 1.0
        assert torch.allclose(part[name] - value, share * (whole[name] - value), atol=1e-6), name


class KeepHalf(TrainerCallback):
    """Keep the weights of the moment in which the second layer's turn comes."""

    def on_step_end(self, _, state, __, **given):
        if state.global_step == (state.max_steps + 1) // 2:
            self.weights = copy.deepcopy(given["model"].state_dict())


def test_layers_learn_one_after_another(run, make_model):
    half, start = KeepHalf(), make_model(seed=1).state_dict()
    end = run(callbacks=(half,)).state_dict()
    for name in start:
        moved = [
            not torch.equal(one[name], two[name]) for one, two in ((start, half.weights), (half.weights, end))
        ]
        if name.startswith("bert.encoder.layer.1."):
            assert moved == [False, True], name
        elif name.startswith("bert.") and "token_type" not in name and "key.bias" not in name:
            assert moved == [True, False], name
        elif name.startswith("cls.predictions.transform"):
            assert moved == [False, False], name


def test_killed_training_goes_on_with_the_layer_whose_turn_it_was(run):
    def interrupt(done, total, *_):
        if done >= 0.7 * total:
            raise InterruptError

    with pytest.raises(InterruptError):
        run(0.1, progress=interrupt, folder="cut")
    resumed, whole = run(0.1, folder="cut").state_dict(), run(0.1, folder="whole").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_fewer_steps_than_layers_are_refused(run):
    with pytest.raises(
        HarnessError, match=r"^distill: expected a step or more for each of the 2 layers .*; got 1 s"
    ):
        run(batch_tokens=4800)
