"""Layers chosen by the loss without them."""

from __future__ import annotations

import pytest
import torch

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.models.loading.checkpoint import build_model
from harness.models.surgery.axes import shorten
from harness.models.surgery.influence import choose_by_influence

SHAPE = Shape(family="bert", layers=4, hidden=16, heads=2, ffn=24, vocabulary=40, positions=16, types=2)


@pytest.fixture
def model():
    """Return a model whose layers 1 and 3 add little to the hidden states."""
    built = build_model(SHAPE, seed=3)
    for number in (1, 3):
        layer = built.base_model.encoder.layer[number]
        for part in (layer.attention.output, layer.output):
            torch.nn.init.zeros_(part.dense.weight)
    return built


@pytest.fixture
def batches():
    drawn = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(5, 40, (4, 12), generator=drawn)
    labels_BL = torch.where(torch.rand(4, 12, generator=drawn) < 0.5, ids_BL, -100)
    return [{"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "labels": labels_BL}]


def measure(model, batches):
    with torch.no_grad():
        return float(model(**batches[0]).loss)


def test_the_layer_that_is_missed_least_goes_first(model, batches):
    kept, removed = choose_by_influence(model, batches, 2)
    every = range(4)
    losses = {one: measure(shorten(model, [n for n in every if n != one]), batches) for one in every}
    assert removed[0].layer == min(losses, key=losses.get)
    assert removed[0].loss == pytest.approx(losses[removed[0].layer], rel=1e-5)
    assert removed[1].loss == pytest.approx(measure(shorten(model, kept), batches), rel=1e-5)
    assert sorted([*kept, *(one.layer for one in removed)]) == list(every)
    assert list(kept) == sorted(kept)


def test_every_step_is_the_best_single_one(model, batches):
    (first, second), left = choose_by_influence(model, batches, 2)[1], set(range(4))
    left -= {first.layer}
    losses = [measure(shorten(model, sorted(left - {one})), batches) for one in left]
    assert second.loss == pytest.approx(min(losses), rel=1e-5)


def test_model_is_left_as_it_was(model, batches):
    before = measure(model, batches)
    choose_by_influence(model, batches, 1)
    assert measure(model, batches) == before
    assert model.config.num_hidden_layers == 4


def test_all_layers_need_no_choice(model, batches):
    assert choose_by_influence(model, batches, 4) == ((0, 1, 2, 3), [])


def test_first_layer_stays_where_it_must(batches):
    sizes = {"family": "modernbert", "types": 0}
    model = build_model(SHAPE.model_copy(update=sizes), seed=3)
    kept, _ = choose_by_influence(model, batches, 1)
    assert kept == (0,)


def test_no_text_is_refused(model):
    with pytest.raises(HarnessError, match=r"influence: expected text to leave out layers on; got none"):
        choose_by_influence(model, [], 2)
