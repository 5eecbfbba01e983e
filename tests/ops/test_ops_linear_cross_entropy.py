from __future__ import annotations

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
def test_is_as_near_the_truth_as_eager(dtype, run):
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


def test_gradient_is_the_difference_quotient():
    case = Case(5, 11)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.linear_cross_entropy(hidden, weight, case.target, bias=bias, chunk_size=2)

    assert torch.autograd.gradcheck(loss, tuple(case.tensors()))


def test_another_ignore_index():
    case = Case(6, 12)
    target = torch.where(case.target == -100, 7, case.target)
    kept = target != 7
    logits = functional.linear(case.hidden, case.weight, case.bias)[kept]
    case.target = target
    assert torch.allclose(case.loss(ignore_index=7), functional.cross_entropy(logits, target[kept]))


def test_no_row_and_no_label_give_zero(run):
    empty = Case(0, 20)
    assert all(bool((value == 0).all()) for value in run(empty.loss, empty.tensors()))
    ignored = Case(4, 20)
    ignored.target[:] = -100
    assert all(bool((value == 0).all()) for value in run(ignored.loss, ignored.tensors()))


def test_ignored_row_with_nan_leaves_the_loss_finite(run):
    case = Case(8, 20)
    with torch.no_grad():
        case.hidden[3] = float("nan")
    loss, by_hidden, *_ = run(case.loss, case.tensors())
    assert bool(loss.isfinite())
    assert bool((by_hidden[3] == 0).all())


def test_takes_autocasts_dtype():
    case = Case(8, 60, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = case.loss()
        expected = case.eager()
    loss.backward()
    assert loss.dtype == torch.float32
    assert case.weight.grad is not None
    assert case.weight.grad.dtype == torch.float32
    assert abs(float(loss.detach()) / float(expected.detach()) - 1) < 2e-2
