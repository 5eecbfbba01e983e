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
def test_equals_the_mean_squared_difference(rows, vocabulary, widths, biases, run):
    student, teacher = make(rows, vocabulary, widths)
    student = student if biases[0] else student._replace(bias=None)
    teacher = teacher if biases[1] else teacher._replace(bias=None)
    expected = [one for one in student if one is not None]
    truth = run(lambda: reference.mse_logits(student, teacher), expected, 1.7)
    assert torch.allclose(truth[0], functional.mse_loss(student.logits(), teacher.logits()), rtol=1e-12)
    for one, other in zip(run(lambda: loss(student, teacher), expected, 1.7), truth, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_is_at_most_that_of_the_logits_difference(near, dtype, run):
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


def test_gradient_matches_finite_differences():
    student, teacher = make(4, 9, (5, 6))
    mask = torch.tensor([True, False, True, True])

    def masked(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return loss(Projection(hidden, weight, bias), teacher, row_mask=mask)

    assert torch.autograd.gradcheck(masked, tuple(student))


def test_mask_selects_rows(run):
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


def test_teacher_gram_changes_nothing(run):
    student, teacher = make(6, 20, (5, 7))
    gram = ops.teacher_gram(teacher.weight)
    assert gram.product.shape == (7, 7)
    plain = run(lambda: loss(student, teacher), list(student))
    for one, other in zip(
        run(lambda: loss(student, teacher, teacher_gram=gram), list(student)), plain, strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-12)


def test_equal_models_have_no_loss_and_no_gradient(run):
    _, teacher = make(6, 20, (7, 7), torch.float32)
    student = teacher.map(lambda one: one.clone().requires_grad_())
    assert all(bool((value == 0).all()) for value in run(lambda: loss(student, teacher), list(student)))


@pytest.mark.parametrize("seed", range(4))
def test_loss_of_equal_logits_is_not_negative(seed):
    generator = torch.Generator().manual_seed(seed)
    states, weights = (torch.randn(rows, 64, generator=generator) for rows in (200, 1000))
    turned, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    for hidden, weight in ((4 * states, weights / 4), (states @ turned, weights @ turned), (states, weights)):
        result = ops.linear_mse_logits_loss(hidden, weight, states, weights).item()
        assert 0 <= result < 1e-3


def test_no_rows_give_zero(run):
    student, teacher = make(0, 20, (5, 7))
    assert all(bool((value == 0).all()) for value in run(lambda: loss(student, teacher), list(student)))
    student, teacher = make(3, 20, (5, 7))
    nobody = torch.zeros(3, dtype=torch.bool)
    values = run(lambda: loss(student, teacher, row_mask=nobody), list(student))
    assert all(bool((value == 0).all()) for value in values)


def test_nan_reaches_the_result():
    student, teacher = make(3, 20, (5, 7), torch.float32)
    teacher.hidden[1, 0] = float("nan")
    assert bool(loss(student, teacher).isnan())


@pytest.mark.parametrize("learns", range(4))
def test_only_tensors_that_require_it_get_a_gradient(learns):
    student, teacher = make(3, 20, (5, 7), torch.float32)
    full = torch.autograd.grad(loss(student, teacher), list(student))
    part = Projection(*(one.detach().requires_grad_(place == learns) for place, one in enumerate(student)))
    value = loss(part, teacher)
    assert value.requires_grad == (learns < 3)
    if learns < 3:
        assert torch.allclose(torch.autograd.grad(value, part[learns])[0], full[learns])


def test_gradients_of_a_second_backward_pass():
    student, teacher = make(3, 20, (5, 7), torch.float32)
    value = loss(student, teacher)
    first = [one.clone() for one in torch.autograd.grad(value * 2, list(student), retain_graph=True)]
    for one, other in zip(first, torch.autograd.grad(value * 2, list(student)), strict=True):
        assert torch.equal(one, other)


def test_autocast_computes_in_float32():
    student, teacher = make(8, 40, (5, 7), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = student.hidden.bfloat16()
        value = loss(student._replace(hidden=hidden), teacher)
    assert value.dtype == torch.float32
    expected = loss(student._replace(hidden=hidden.float()), teacher)
    assert torch.equal(value.detach(), expected.detach())


def test_strides(run):
    student, teacher = make(6, 20, (5, 7))
    plain = run(lambda: loss(student, teacher), list(student))
    turned = student._replace(hidden=student.hidden.T.contiguous().T, weight=student.weight.T.contiguous().T)
    for one, other in zip(run(lambda: loss(turned, teacher), list(student)), plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-11)


def test_no_uninitialised_memory_is_read(poisoned, run):
    student, teacher = make(6, 20, (5, 7), torch.float32)
    assert all(bool(value.isfinite().all()) for value in run(lambda: loss(student, teacher), list(student)))


def test_schema_fake_and_autograd_agree_with_the_kernel(check_kernel):
    student, teacher = make(5, 11, (8, 9), torch.float32)
    check_kernel("linear_mse_logits_loss", *student, *teacher, None, None, True, True, True)


def test_torch_compile_takes_the_whole_graph(check_compile):
    student, teacher = make(5, 11, (8, 9), torch.float32)
    gram, weight = ops.teacher_gram(teacher.weight), student.weight.detach()
    check_compile(
        lambda x: ops.linear_mse_logits_loss(x, weight, *teacher[:2], teacher_gram=gram),
        student.hidden.detach(),
    )


GRAM = "expected teacher_gram(teacher_weight) of this teacher_weight"
VALID = {
    "student_hidden": torch.randn(4, 6, requires_grad=True),
    "student_weight": torch.randn(10, 6),
    "teacher_hidden": torch.randn(4, 8),
    "teacher_weight": torch.randn(10, 8),
    "student_bias": torch.randn(10),
    "teacher_bias": torch.randn(10),
    "row_mask": torch.tensor([True, False, True, True]),
    "teacher_gram": None,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"teacher_weight": torch.randn(9, 8), "teacher_bias": None},
            "teacher_weight: expected 10 rows, as student_weight has; got 9 rows",
        ),
        ({"student_bias": torch.randn(3)}, "student_bias: expected 10; got 3"),
        ({"row_mask": torch.ones(4)}, "row_mask: expected bool; got float32"),
        ({"row_mask": torch.ones(3, dtype=torch.bool)}, "row_mask: expected 4; got 3"),
        (
            {"teacher_gram": torch.ones(8, 8)},
            "teacher_gram: expected what ops.teacher_gram returns; got Tensor",
        ),
        (
            {"teacher_gram": ops.teacher_gram(torch.ones(9, 8))},
            f"teacher_gram: {GRAM}; got that of a weight of 9×8",
        ),
        (
            {"teacher_gram": ops.teacher_gram(torch.ones(10, 8).bfloat16())},
            f"teacher_gram: {GRAM}; got that of a weight of bfloat16 on cpu",
        ),
        (
            {"teacher_gram": ops.teacher_gram(torch.ones(10, 8))},
            f"teacher_gram: {GRAM}; got that of other values",
        ),
        ({"teacher_hidden": torch.randn(4, 0)}, "teacher_hidden: expected a width of 1 or more; got 0"),
        (
            {"student_weight": torch.randn(10, 6, device="meta")},
            "student_weight: expected a tensor on cpu or cuda; got meta",
        ),
    ],
)
def test_wrong_arguments(changed, message, check_refusal):
    check_refusal(ops.linear_mse_logits_loss, VALID, changed, message)


def test_fuzz_of_arguments(fuzz_arguments):
    gram = ops.teacher_gram(VALID["teacher_weight"])
    fuzz_arguments(ops.linear_mse_logits_loss, {**VALID, "teacher_gram": gram})
    fuzz_arguments(ops.teacher_gram, {"teacher_weight": VALID["teacher_weight"]})
