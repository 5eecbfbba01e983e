from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness import ops
from harness.ops import reference
from harness.ops.projection import Projection


def make(
    rows: int,
    vocabulary: int,
    widths: tuple[int, int],
    dtype: torch.dtype = torch.float64,
    *,
    near: bool = False,
) -> tuple[Projection, Projection]:
    torch.manual_seed(rows + vocabulary)
    teacher = Projection(
        torch.randn(rows, widths[1]), torch.randn(vocabulary, widths[1]), torch.randn(vocabulary)
    )
    student = (
        teacher
        if near
        else Projection(
            torch.randn(rows, widths[0]), torch.randn(vocabulary, widths[0]), torch.randn(vocabulary)
        )
    )
    if near:
        student = student.map(lambda one: one + 1e-3 * torch.randn_like(one))
    return student.map(lambda one: one.to(dtype).requires_grad_()), teacher.map(lambda one: one.to(dtype))


def loss(student: Projection, teacher: Projection, **more) -> Tensor:
    biases = {"student_bias": student.bias, "teacher_bias": teacher.bias}
    return ops.linear_mse_logits_loss(*student[:2], *teacher[:2], **{**biases, **more})


@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("widths", [(5, 7), (7, 5), (6, 6)])
@pytest.mark.parametrize(("rows", "vocabulary"), [(9, 31), (31, 9), (1, 1)])
def test_it_equals_the_mean_squared_difference(rows, vocabulary, widths, biases, run):
    student, teacher = make(rows, vocabulary, widths)
    student = student if biases[0] else student._replace(bias=None)
    teacher = teacher if biases[1] else teacher._replace(bias=None)
    wanted = [one for one in student if one is not None]
    truth = run(lambda: reference.mse_logits(student, teacher), wanted, 1.7)
    assert torch.allclose(truth[0], functional.mse_loss(student.logits(), teacher.logits()), rtol=1e-12)
    for one, other in zip(run(lambda: loss(student, teacher), wanted, 1.7), truth, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_nearer_the_truth_than_the_difference_of_logits(near, dtype, run):
    student, teacher = make(64, 500, (32, 32), dtype, near=near)
    wide = student.map(lambda one: one.detach().double().requires_grad_())
    truth = run(lambda: reference.mse_logits(wide, teacher.map(Tensor.double)), list(wide))
    eager = run(lambda: reference.mse_logits(student, teacher), list(student))
    result = run(lambda: loss(student, teacher), list(student))
    for place, (one, usual, true) in enumerate(zip(result, eager, truth, strict=True)):
        mistake, known = (float((x.double() - true).norm() / true.norm()) for x in (one, usual))
        low = dtype == torch.bfloat16 and place > 0
        assert mistake <= (max(4e-3, 1.25 * known) if low else max(1e-6, 2 * known))
        if near and dtype == torch.float32:
            assert mistake < known


def test_its_gradient_is_the_difference_quotient():
    student, teacher = make(4, 9, (5, 6))
    mask = torch.tensor([True, False, True, True])

    def masked(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return loss(Projection(hidden, weight, bias), teacher, row_mask=mask)

    assert torch.autograd.gradcheck(masked, tuple(student))


def test_the_mask_chooses_the_rows(run):
    student, teacher = make(6, 20, (5, 7))
    mask = torch.tensor([True, False, True, True, False, True])
    chosen = run(
        lambda: loss(
            student._replace(hidden=student.hidden[mask]), teacher._replace(hidden=teacher.hidden[mask])
        ),
        list(student),
    )
    masked = run(lambda: loss(student, teacher, row_mask=mask), list(student))
    for one, other in zip(masked, chosen, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)
    with torch.no_grad():
        student.hidden[1], teacher.hidden[4] = float("nan"), float("inf")
    dirty = run(lambda: loss(student, teacher, row_mask=mask), list(student))
    for one, other in zip(dirty, chosen, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_a_gram_matrix_at_hand_changes_nothing(run):
    student, teacher = make(6, 20, (5, 7))
    gram = ops.teacher_gram(teacher.weight)
    assert gram.shape == (7, 7)
    plain = run(lambda: loss(student, teacher), list(student))
    for one, other in zip(
        run(lambda: loss(student, teacher, teacher_gram=gram), list(student)), plain, strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-12)


def test_a_student_that_is_the_teacher_has_nothing_to_learn(run):
    _, teacher = make(6, 20, (7, 7), torch.float32)
    student = teacher.map(lambda one: one.clone().requires_grad_())
    assert all(bool((value == 0).all()) for value in run(lambda: loss(student, teacher), list(student)))


@pytest.mark.parametrize("seed", range(4))
def test_equal_logits_of_other_factors_give_no_loss_below_zero(seed):
    generator = torch.Generator().manual_seed(seed)
    states, weights = (torch.randn(rows, 64, generator=generator) for rows in (200, 1000))
    turned, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    for hidden, weight in ((4 * states, weights / 4), (states @ turned, weights @ turned), (states, weights)):
        found = ops.linear_mse_logits_loss(hidden, weight, states, weights).item()
        assert 0 <= found < 1e-3


def test_no_row_gives_zero(run):
    student, teacher = make(0, 20, (5, 7))
    assert all(bool((value == 0).all()) for value in run(lambda: loss(student, teacher), list(student)))
    student, teacher = make(3, 20, (5, 7))
    nobody = torch.zeros(3, dtype=torch.bool)
    values = run(lambda: loss(student, teacher, row_mask=nobody), list(student))
    assert all(bool((value == 0).all()) for value in values)


def test_nan_is_told():
    student, teacher = make(3, 20, (5, 7), torch.float32)
    teacher.hidden[1, 0] = float("nan")
    assert bool(loss(student, teacher).isnan())


@pytest.mark.parametrize("learns", range(4))
def test_only_what_learns_gets_a_gradient(learns):
    student, teacher = make(3, 20, (5, 7), torch.float32)
    full = torch.autograd.grad(loss(student, teacher), list(student))
    part = Projection(*(one.detach().requires_grad_(place == learns) for place, one in enumerate(student)))
    value = loss(part, teacher)
    assert value.requires_grad == (learns < 3)
    if learns < 3:
        assert torch.allclose(torch.autograd.grad(value, part[learns])[0], full[learns])


def test_a_second_backward_pass_gives_the_same():
    student, teacher = make(3, 20, (5, 7), torch.float32)
    value = loss(student, teacher)
    first = [one.clone() for one in torch.autograd.grad(value * 2, list(student), retain_graph=True)]
    for one, other in zip(first, torch.autograd.grad(value * 2, list(student)), strict=True):
        assert torch.equal(one, other)


def test_autocast_is_lifted_to_float32():
    student, teacher = make(8, 40, (5, 7), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = student.hidden.bfloat16()
        value = loss(student._replace(hidden=hidden), teacher)
    assert value.dtype == torch.float32
    wanted = loss(student._replace(hidden=hidden.float()), teacher)
    assert torch.equal(value.detach(), wanted.detach())


def test_strided_tensors(run):
    student, teacher = make(6, 20, (5, 7))
    plain = run(lambda: loss(student, teacher), list(student))
    turned = student._replace(hidden=student.hidden.T.contiguous().T, weight=student.weight.T.contiguous().T)
    for one, other in zip(run(lambda: loss(turned, teacher), list(student)), plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-11)


def test_nothing_uninitialised_is_read(poisoned, run):
    student, teacher = make(6, 20, (5, 7), torch.float32)
    assert all(bool(value.isfinite().all()) for value in run(lambda: loss(student, teacher), list(student)))
