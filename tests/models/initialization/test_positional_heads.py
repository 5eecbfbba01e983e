from __future__ import annotations

import pytest
import torch

from harness.config.shape import Shape
from harness.models.initialization.positional_heads import OFFSETS, initialize_positional_heads
from harness.models.loading.checkpoint import build_model

FAMILIES = [("bert", 2, 64), ("xlm-roberta", 1, 66)]


def _model(family: str, types: int, positions: int):
    shape = Shape(
        family=family, layers=2, hidden=128, heads=4, ffn=64, vocabulary=300, positions=positions, types=types
    )
    return build_model(shape, 3)


def _attentions(model, length: int):
    ids = torch.randint(5, 300, (3, length), generator=torch.Generator().manual_seed(0))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model.eval()(input_ids=ids, output_attentions=True).attentions


@pytest.mark.parametrize(("family", "types", "positions"), FAMILIES)
def test_first_heads_attend_to_their_neighbours(family, types, positions):
    model = _model(family, types, positions)
    initialize_positional_heads(model, seed=1)
    for layer in _attentions(model, 50):
        for head, shift in enumerate(OFFSETS):
            there = torch.diagonal(layer[:, head], shift, 1, 2)
            assert there.mean() > 0.3
            inner = layer[:, head, 1:-1]
            assert torch.equal(inner.argmax(2), (torch.arange(1, 49) + shift).expand(3, -1))


@pytest.mark.parametrize(("family", "types", "positions"), FAMILIES)
def test_other_heads_stay_as_they_were(family, types, positions):
    model, before = _model(family, types, positions), _model(family, types, positions)
    initialize_positional_heads(model, seed=1)
    old = dict(before.named_parameters())
    changed = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, old[name])}
    assert {name.rsplit(".", 2)[1] for name in changed if "layer" in name} == {"query", "key"}
    assert all("embeddings" in name or "layer" in name or "decoder" in name for name in changed)
    rows = len(OFFSETS) * 32
    for name in changed:
        if "layer" in name:
            tensor = model.get_parameter(name)
            assert torch.equal(tensor[rows:], old[name][rows:])
            assert not torch.equal(tensor[:rows], old[name][:rows])


def test_equal_seeds_make_equal_weights():
    models = [_model("bert", 2, 64) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialize_positional_heads(model, seed)
    one, same, other = (model.base_model.embeddings.position_embeddings.weight for model in models)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
