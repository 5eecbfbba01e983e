from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import ops
from harness.errors import HarnessError


def ffn(fc_in: nn.Linear, fc_out: nn.Linear, x: Tensor, alive: Tensor | None = None) -> Tensor:
    h = functional.gelu(fc_in(x))
    return fc_out(h if alive is None else h * alive)


@pytest.mark.parametrize("bias", [True, False])
def test_equals_whole_layers_without_the_other_neurons(bias):
    torch.manual_seed(0)
    fc_in, fc_out = nn.Linear(8, 192, bias=bias), nn.Linear(192, 8, bias=bias)
    keep = torch.randperm(192)[:128]
    small_in, small_out = ops.prune_linear_pair(fc_in, fc_out, keep)
    assert (small_in.in_features, small_in.out_features, small_out.in_features) == (8, 128, 128)
    alive = torch.zeros(192).index_fill(0, keep, 1.0)
    x = torch.randn(5, 8)
    assert torch.allclose(ffn(small_in, small_out, x), ffn(fc_in, fc_out, x, alive), atol=1e-6)
    assert (small_in.bias is None) == (not bias)


def test_layers_share_nothing_and_keep_the_order():
    fc_in, fc_out = nn.Linear(4, 6).double(), nn.Linear(6, 4).double()
    fc_in.weight.requires_grad_(False)
    keep = torch.tensor([True, False, True, True, False, True])
    small_in, small_out = ops.prune_linear_pair(fc_in.eval(), fc_out, keep, multiple_of=2)
    assert torch.equal(small_in.weight, fc_in.weight[keep])
    assert torch.equal(small_out.weight, fc_out.weight[:, keep])
    assert small_in.weight.dtype == torch.float64
    assert not small_in.weight.requires_grad
    assert small_out.weight.requires_grad
    assert small_out.weight.is_contiguous()
    assert (small_in.training, small_out.training) == (False, True)
    before = fc_out.bias.clone()
    with torch.no_grad():
        small_out.bias.zero_()
        small_in.weight.zero_()
    assert torch.equal(fc_out.bias, before)
    assert bool((fc_in.weight != 0).any())


@pytest.mark.parametrize(
    ("keep", "multiple_of", "message"),
    [
        (torch.arange(3), 64, r"keep: expected a multiple of 64 neurons, or multiple_of=1; got 3 neurons"),
        (torch.arange(4), 0, r"multiple_of: expected a whole number from 1; got 0"),
        (torch.arange(4), 2.0, r"multiple_of: expected a whole number from 1; got float"),
        (None, 1, r"keep: expected a tensor; got NoneType"),
        (torch.arange(4, device="meta"), 1, r"keep: expected a tensor on cpu or cuda; got meta"),
        (torch.tensor([0, 6]), 1, r"keep: expected indices from 0 to 5; got 6"),
        (torch.tensor([-1, 2]), 1, r"keep: expected indices from 0 to 5; got -1"),
        (torch.tensor([2, 2]), 1, r"keep: expected every neuron at most once; got a neuron twice"),
        (torch.tensor([], dtype=torch.int64), 1, r"keep: expected one neuron or more; got none"),
        (torch.zeros(6, dtype=torch.bool), 1, r"keep: expected one neuron or more; got none"),
        (torch.ones(5, dtype=torch.bool), 1, r"keep: expected 6; got 5"),
        (torch.tensor([0.0]), 1, r"keep: expected int64; got float32"),
        (torch.tensor([[0]]), 1, r"keep: expected 1; got 1×1"),
    ],
)
def test_wrong_arguments(keep, multiple_of, message):
    with pytest.raises(HarnessError, match=f"^prune_linear_pair: {message}"):
        ops.prune_linear_pair(nn.Linear(4, 6), nn.Linear(6, 4), keep, multiple_of=multiple_of)


def test_layers_that_do_not_fit():
    with pytest.raises(HarnessError, match=r"fc_out: expected 6 inputs, as fc_in has outputs; got 7"):
        ops.prune_linear_pair(nn.Linear(4, 6), nn.Linear(7, 4), torch.arange(2), multiple_of=1)


def test_layers_of_another_type():
    with pytest.raises(
        HarnessError, match=r"^prune_linear_pair: fc_in: expected a torch.nn.Linear; got Tensor$"
    ):
        ops.prune_linear_pair(torch.ones(4, 6), nn.Linear(6, 4), torch.arange(2))


def test_fuzz_of_arguments(fuzz_arguments):
    layers = {"fc_in": nn.Linear(4, 6), "fc_out": nn.Linear(6, 4)}
    fuzz_arguments(ops.prune_linear_pair, {**layers, "keep": torch.arange(4), "multiple_of": 2})
