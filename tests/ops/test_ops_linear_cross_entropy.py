from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness import ops


class Case:
    """A projection onto a vocabulary, and labels of which every fourth is ignored."""

    def __init__(self, rows: int, vocabulary: int, dtype: torch.dtype = torch.float64, *, bias: bool = True):
        torch.manual_seed(rows + vocabulary)
        self.hidden = torch.randn(rows, 24).to(dtype).requires_grad_()
        self.weight = torch.randn(vocabulary, 24).to(dtype).requires_grad_()
        self.bias = torch.randn(vocabulary).to(dtype).requires_grad_() if bias else None
        self.target = torch.randint(0, vocabulary, (rows,))
        self.target[3::4] = -100

    def tensors(self) -> list[Tensor]:
        return [tensor for tensor in (self.hidden, self.weight, self.bias) if tensor is not None]

    def loss(self, **changed) -> Tensor:
        return ops.linear_cross_entropy(self.hidden, self.weight, self.target, bias=self.bias, **changed)

    def eager(self) -> Tensor:
        return functional.cross_entropy(functional.linear(self.hidden, self.weight, self.bias), self.target)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 4, 9, 100, None])
def test_equals_cross_entropy_of_the_logits(chunk_size, bias, run):
    case = Case(9, 50, bias=bias)
    expected = run(case.eager, case.tensors(), 1.7)
    for result, truth in zip(
        run(lambda: case.loss(chunk_size=chunk_size), case.tensors(), 1.7), expected, strict=True
    ):
        assert torch.allclose(result, truth, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_is_at_most_that_of_eager(dtype, run):
    case, wide = Case(33, 1000, dtype), Case(33, 1000)
    wide.hidden, wide.weight, wide.bias = (one.detach().double().requires_grad_() for one in case.tensors())
    truths = run(wide.eager, wide.tensors())
    eagers = run(case.eager, case.tensors())
    for result, eager, truth in zip(
        run(lambda: case.loss(chunk_size=16), case.tensors()), eagers, truths, strict=True
    ):
        floor = (4e-3 if dtype == torch.bfloat16 else 1e-6) * float(truth.norm())
        assert float((result.double() - truth).norm()) <= max(
            floor, 1.25 * float((eager.double() - truth).norm())
        )


def test_gradient_matches_finite_differences():
    case = Case(5, 11)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.linear_cross_entropy(hidden, weight, case.target, bias=bias, chunk_size=2)

    assert torch.autograd.gradcheck(loss, tuple(case.tensors()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reference_runs_at_small_shapes(dtype, run, monkeypatch):
    case = Case(9, 50, dtype)
    expected = run(case.loss, case.tensors())
    monkeypatch.setattr(importlib.import_module("harness.ops.linear_cross_entropy"), "_FEW_LOGITS", 9 * 50)
    for result, truth in zip(run(case.loss, case.tensors()), expected, strict=True):
        assert torch.allclose(result, truth, rtol=1e-5 if dtype == torch.float32 else 2e-2, atol=1e-3)


def test_another_ignore_index():
    case = Case(6, 12)
    target = torch.where(case.target == -100, 7, case.target)
    kept = target != 7
    logits = functional.linear(case.hidden, case.weight, case.bias)[kept]
    case.target = target
    assert torch.allclose(case.loss(ignore_index=7), functional.cross_entropy(logits, target[kept]))


def test_no_rows_and_no_labels_give_zero(run):
    empty = Case(0, 20)
    assert all(bool((value == 0).all()) for value in run(empty.loss, empty.tensors()))
    ignored = Case(4, 20)
    ignored.target[:] = -100
    assert all(bool((value == 0).all()) for value in run(ignored.loss, ignored.tensors()))


def test_nan_in_an_ignored_row_does_not_reach_the_loss(run):
    case = Case(8, 20)
    with torch.no_grad():
        case.hidden[3] = float("nan")
    loss, by_hidden, *_ = run(case.loss, case.tensors())
    assert bool(loss.isfinite())
    assert bool((by_hidden[3] == 0).all())


def test_autocast_lowers_the_dtype_of_products_only():
    case = Case(8, 60, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = case.loss()
        expected = case.eager()
    loss.backward()
    assert loss.dtype == torch.float32
    assert case.weight.grad is not None
    assert case.weight.grad.dtype == torch.float32
    assert abs(float(loss.detach()) / float(expected.detach()) - 1) < 2e-2


def test_torch_compile_takes_the_whole_graph(check_compile):
    case = Case(5, 11, torch.float32)
    weight = case.weight.detach()
    check_compile(
        lambda x: ops.linear_cross_entropy(x, weight, case.target, chunk_size=2), case.hidden.detach()
    )


S = torch.randn(4, 10)
Y = torch.tensor([1, 2, 3, -100])
VALID = {
    "hidden": torch.randn(4, 6, requires_grad=True),
    "weight": torch.randn(10, 6),
    "target": Y,
    "bias": torch.randn(10),
    "ignore_index": -100,
    "chunk_size": 2,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": S[0]}, "hidden: expected 2 dimensions; got 10"),
        ({"weight": torch.randn(10, 7)}, "weight: expected 10×6; got 10×7"),
        ({"weight": torch.randn(0, 6)}, "weight: expected one token or more; got 0×"),
        ({"bias": torch.randn(9)}, "bias: expected 10; got 9"),
        ({"target": Y[:3]}, "target: expected 4; got 3"),
        ({"target": Y.clone().fill_(10)}, "target: expected indices from 0 to 9 or -100; got 10"),
        ({"chunk_size": 0}, "chunk_size: expected a whole number from 1; got 0"),
        ({"target": None}, "target: expected a tensor; got NoneType"),
        ({"hidden": 1}, "hidden: expected a tensor; got int"),
        ({"ignore_index": None}, "ignore_index: expected a whole number of 64 bits; got NoneType"),
    ],
)
def test_wrong_arguments(changed, message, check_refusal):
    check_refusal(ops.linear_cross_entropy, VALID, changed, message)


def test_fuzz_of_arguments(fuzz_arguments):
    fuzz_arguments(ops.linear_cross_entropy, VALID)
