"""Surgery: what is kept computes what it computed, and the model that came in is left alone."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from harness.errors import HarnessError
from harness.models.families.table import find_layout, is_tied
from harness.models.loading.checkpoint import save_checkpoint
from harness.models.size import count_parameters, sum_parts
from harness.models.surgery.axes import narrow, prune_ffn, shorten


def logits(model, batch):
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def evenly(model, width):
    """Keeps other neurons in each layer."""
    return [torch.arange(width) + number for number in range(model.config.num_hidden_layers)]


CHANGES = {
    "shorten": (lambda model: shorten(model, [2, 0]), {"layers": 2}),
    "prune": (lambda model: prune_ffn(model, evenly(model, 17)), {"ffn": 17}),
    "narrowed": (lambda model: narrow(model, 12, 4, heads_mode="narrowed"), {"hidden": 12}),
    "dropped": (lambda model: narrow(model, 18, 3, heads_mode="dropped"), {"hidden": 18, "heads": 3}),
    "both": (lambda model: narrow(model, 10, 2), {"hidden": 10, "heads": 2}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_result_is_stock_and_has_its_shape(encoder, batch, tmp_path, name):
    change, sizes = CHANGES[name]
    before = {key: value.clone() for key, value in encoder.model.state_dict().items()}
    settings = encoder.model.config.to_dict()
    small = change(encoder.model)
    shape = encoder.shape.model_copy(update=sizes)
    assert sum_parts(count_parameters(small)).parameters == shape.num_parameters
    assert is_tied(small) == encoder.shape.tied
    assert not small.training
    assert encoder.model.config.to_dict() == settings
    assert all(torch.equal(value, before[key]) for key, value in encoder.model.state_dict().items())
    addresses = {parameter.data_ptr() for parameter in encoder.model.parameters()}
    assert not addresses & {parameter.data_ptr() for parameter in small.parameters()}
    save_checkpoint(small, encoder.tokenizer, tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert type(again) is type(encoder.model)
    assert torch.equal(logits(again, batch), logits(small, batch))
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == encoder.tokenizer.get_vocab()


@pytest.mark.parametrize(
    "keep_all",
    [
        lambda model: shorten(model, range(3)),
        lambda model: prune_ffn(model, [torch.arange(30)] * 3),
        lambda model: narrow(model, 24, 4),
        lambda model: narrow(model, 24, 4, basis=torch.arange(24), heads_mode="dropped"),
    ],
    ids=["shorten", "prune", "narrow", "narrow by list"],
)
def test_keeping_everything_is_lossless(encoder, batch, keep_all):
    assert torch.allclose(
        logits(keep_all(encoder.model), batch), logits(encoder.model, batch), atol=1e-5, rtol=0
    )


def test_reordering_is_lossless(encoder, batch):
    """Neither the neurons nor the dimensions of the residual stream have an order."""
    neurons = [torch.randperm(30, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    dimensions = torch.randperm(24, generator=torch.Generator().manual_seed(9))
    mixed = narrow(prune_ffn(encoder.model, neurons), 24, 4, basis=dimensions)
    assert torch.allclose(logits(mixed, batch), logits(encoder.model, batch), atol=1e-4, rtol=0)


def test_pruned_neuron_equals_zeroed_neuron(encoder, batch):
    kept = evenly(encoder.model, 21)
    family = find_layout(encoder.model)
    hooks = []
    for number, neurons in enumerate(kept):
        gate_F = torch.zeros(30).index_fill(0, neurons, 1.0)
        ffn_out = encoder.model.get_submodule(f"{family.layers}.{number}.{family.ffn_out}")
        hooks.append(
            ffn_out.register_forward_pre_hook(lambda _, inputs, gate_F=gate_F: (inputs[0] * gate_F,))
        )
    zeroed = logits(encoder.model, batch)
    for hook in hooks:
        hook.remove()
    assert not torch.allclose(zeroed, logits(encoder.model, batch), atol=1e-3)
    assert torch.allclose(logits(prune_ffn(encoder.model, kept), batch), zeroed, atol=1e-5, rtol=0)


def test_layers_keep_the_requested_order(encoder):
    small = shorten(encoder.model, [2, 0])
    layers, small_layers = (one.get_submodule(find_layout(one).layers) for one in (encoder.model, small))
    for new, old in enumerate([2, 0]):
        pairs = zip(small_layers[new].parameters(), layers[old].parameters(), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs)


def test_each_head_keeps_its_own_dimensions(encoder):
    """Narrowing 4 heads of 6 to 4 of 3 keeps rows 0-2, 6-8, 12-14, 18-20; dropping keeps the first heads."""
    attention = f"{find_layout(encoder.model).layers}.1.attention"
    wide = encoder.model.get_submodule(attention)
    rows = torch.tensor([0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20])
    small = narrow(encoder.model, 12, 4).get_submodule(attention)
    assert torch.equal(small.self.value.weight, wide.self.value.weight[rows, :12])
    assert torch.equal(small.self.key.bias, wide.self.key.bias[rows])
    assert torch.equal(small.output.dense.weight, wide.output.dense.weight[:12][:, rows])
    dropped = narrow(encoder.model, 12, 2).get_submodule(attention)
    assert torch.equal(dropped.self.query.weight, wide.self.query.weight[:12, :12])


def test_attention_scores_of_kept_dimensions_stay(encoder):
    """softmax(q·k/√d) over the kept dimensions is the same before and after, though d is smaller."""
    path = f"{find_layout(encoder.model).layers}.0.attention.self"
    wide, small = encoder.model.get_submodule(path), narrow(encoder.model, 12, 4).get_submodule(path)
    hidden_LD = torch.randn(5, 24, generator=torch.Generator().manual_seed(2))
    hidden_LD[:, 12:] = 0
    query, key = (getattr(wide, name)(hidden_LD).view(5, 4, 6)[..., :3] for name in ("query", "key"))
    expected = torch.einsum("lhd,mhd->hlm", query, key) * wide.scaling
    query, key = (getattr(small, name)(hidden_LD[:, :12]).view(5, 4, 3) for name in ("query", "key"))
    assert torch.allclose(torch.einsum("lhd,mhd->hlm", query, key) * small.scaling, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: shorten(m, []), "shorten: expected one or more different layers of 0 to 2; got []"),
        (lambda m: shorten(m, [0, 0]), r"got \[0, 0\]"),
        (lambda m: shorten(m, [3]), r"got \[3\]"),
        (lambda m: prune_ffn(m, [torch.arange(3)]), "expected a list of neurons for each of 3 layers; got 1"),
        (
            lambda m: prune_ffn(m, [torch.arange(n) for n in (3, 4, 3)]),
            r"equally many .*got \[3, 4\]; keep the same",
        ),
        (
            lambda m: prune_ffn(m, [torch.tensor([0, 30])] * 3),
            "layer 0: expected one or more different neurons of 0 to 29",
        ),
        (lambda m: prune_ffn(m, [torch.tensor([1, 1])] * 3), "different neurons"),
        (lambda m: prune_ffn(m, [torch.tensor([], dtype=torch.int64)] * 3), "one or more different neurons"),
        (lambda m: narrow(m, 13, 4), "got 4 heads in 13; choose a multiple of the heads"),
        (lambda m: narrow(m, 24, 5), "expected at most 4 heads"),
        (lambda m: narrow(m, 0, 4), "hidden size of at most 24"),
        (lambda m: narrow(m, 16, 2), "expected heads no wider than the model's 6; got 8"),
        (
            lambda m: narrow(m, 12, 2, heads_mode="narrowed"),
            r"expected all 4 heads kept \(heads: narrowed\); got 2",
        ),
        (
            lambda m: narrow(m, 12, 4, heads_mode="dropped"),
            r"expected whole heads of 6 .*got 12 for 4 heads; ask for 24",
        ),
        (
            lambda m: narrow(m, 12, 4, heads_mode="mixed"),
            "unknown way to narrow heads 'mixed'; there are: narrowed",
        ),
        (lambda m: narrow(m, 12, 4, basis="last"), "unknown basis 'last'; there are: first"),
        (lambda m: narrow(m, 12, 4, basis=torch.arange(11)), "expected 12 dimensions; got 11"),
        (
            lambda m: narrow(m, 12, 4, basis=torch.arange(13, 25)),
            "expected one or more different dimensions of 0 to 23",
        ),
    ],
)
def test_unfit_requests_are_refused_in_one_line(encoder, change, message):
    with pytest.raises(HarnessError, match=message.replace("[]", r"\[\]")) as caught:
        change(encoder.model)
    assert "\n" not in str(caught.value)
