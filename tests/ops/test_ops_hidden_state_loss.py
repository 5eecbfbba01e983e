from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness import ops
from harness.ops import reference


def make(
    shape: tuple[int, ...], layers: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(sum(shape) + layers)
    students = [torch.randn(*shape).to(dtype).requires_grad_() for _ in range(layers)]
    return students, [torch.randn(*shape).to(dtype) for _ in range(layers)]


def eager(students: list[Tensor], teachers: list[Tensor], kind: str) -> Tensor:
    """What everybody writes."""
    parts = []
    for student, teacher in zip(students, teachers, strict=True):
        if kind == "mse":
            parts.append(functional.mse_loss(student, teacher))
        else:
            rows = student.reshape(-1, student.shape[-1]), teacher.reshape(-1, student.shape[-1])
            parts.append(functional.cosine_embedding_loss(*rows, torch.ones(len(rows[0]))))
    return torch.stack(parts).mean()


@pytest.mark.parametrize("kind", ["cosine", "mse"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (7, 15), (3, 5, 17), (2, 3, 768), (1, 100003)])
def test_it_is_as_near_the_truth_as_eager(shape, dtype, kind, run, check_close):
    if kind == "cosine" and shape[-1] == 1:
        shape = (1, 2)  # the gradient of a cosine in one dimension is zero
    students, teachers = make(shape, 2, dtype)
    wide = [one.detach().double().requires_grad_() for one in students]
    truth = run(lambda: eager(wide, [one.double() for one in teachers], kind), wide, 1.7)
    known = run(lambda: eager(students, teachers, kind), students, 1.7)
    result = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students, 1.7)
    check_close(result, truth, known)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_it_equals_torchs_own_losses_in_float64(kind, run):
    students, teachers = make((2, 5, 9), 3, torch.float64)
    wanted = run(lambda: eager(students, teachers, kind), students)
    result = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students)
    for one, other in zip(result, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_its_gradient_is_the_difference_quotient(kind):
    students, teachers = make((2, 3, 5), 2, torch.float64)
    projection = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, True, True]])

    def loss(first: Tensor, second: Tensor, projection: Tensor) -> Tensor:
        return ops.hidden_state_loss(
            [first, second], teachers, mask, kind=kind, projections=[None, projection], weights=[0.3, 2.0]
        )

    assert torch.autograd.gradcheck(loss, (*students, projection))


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_the_mask_chooses_the_positions_and_the_rest_may_hold_anything(kind, run):
    students, teachers = make((2, 4, 6), 2, torch.float64)
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    chosen = [one.detach()[mask].requires_grad_() for one in students]
    wanted = run(lambda: eager(chosen, [one[mask] for one in teachers], kind), chosen)
    with torch.no_grad():
        students[0][0, 3], teachers[1][1, 3] = float("nan"), float("inf")
    result = run(lambda: ops.hidden_state_loss(students, teachers, mask, kind=kind), students)
    assert torch.allclose(result[0], wanted[0], rtol=1e-11)
    for grad, other in zip(result[1:], wanted[1:], strict=True):
        assert torch.allclose(grad[mask], other, rtol=1e-10, atol=1e-15)
        assert bool((grad[~mask] == 0).all())


def test_layers_have_weights_and_projections():
    students, teachers = make((3, 4), 2, torch.float64)
    wider = [torch.randn(3, 6, dtype=torch.float64), teachers[1]]
    projection = torch.randn(6, 4, dtype=torch.float64)
    loss = ops.hidden_state_loss(
        students, wider, kind="mse", projections=[projection, None], weights=[0.5, 3.0]
    )
    wanted = 0.5 * functional.mse_loss(students[0] @ projection.T, wider[0])
    wanted = wanted + 3.0 * functional.mse_loss(students[1], wider[1])
    assert torch.allclose(loss, wanted, rtol=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_no_position_gives_zero(kind, run):
    students, teachers = make((0, 4))
    assert ops.hidden_state_loss(students, teachers, kind=kind) == 0
    students, teachers = make((3, 4))
    nobody = torch.zeros(3, dtype=torch.bool)
    values = run(lambda: ops.hidden_state_loss(students, teachers, nobody, kind=kind), students)
    assert all(bool((value == 0).all()) for value in values)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_a_student_that_is_the_teacher_has_nothing_to_learn(kind, run):
    students, _ = make((4, 300))
    loss, grad = run(lambda: ops.hidden_state_loss(students, [students[0].detach()], kind=kind), students)
    assert abs(float(loss)) < 1e-6
    assert float(grad.abs().max()) < 1e-6


def test_vectors_of_zero_and_of_ten_thousand(run):
    students, teachers = make((3, 64))
    with torch.no_grad():
        students[0][0] = 0
        students[0][1] *= 1e4
        teachers[0][2] = 0
    loss, grad = run(lambda: ops.hidden_state_loss(students, teachers, kind="cosine"), students)
    assert abs(float(loss) - float(eager(students, teachers, "cosine").detach())) < 1e-6
    assert bool(grad.isfinite().all())
    (known,) = torch.autograd.grad(eager(students, teachers, "cosine"), students)
    assert torch.allclose(grad[1:], known[1:], atol=1e-7)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_nan_is_told(kind, run):
    students, teachers = make((3, 40))
    teachers[0][1, 39] = float("nan")
    loss, grad = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students)
    assert bool(loss.isnan())
    assert bool(grad[[0, 2]].isfinite().all())


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_any_strides(kind, run):
    students, teachers = make((6, 20))
    plain = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students)
    turned = [students[0].T.contiguous().T], [torch.cat([teachers[0], teachers[0]], 1)[:, :20]]
    mixed = [torch.stack([students[0]] * 2, 1)[:, 1]], [teachers[0].T.contiguous().T]
    for pair in (turned, mixed):
        result = run(lambda pair=pair: ops.hidden_state_loss(*pair, kind=kind), students)
        for one, other in zip(result, plain, strict=True):
            assert torch.allclose(one, other, rtol=1e-6, atol=1e-9)


def test_two_runs_agree_to_the_bit_whatever_the_threads(run):
    students, teachers = make((200, 70), 2)
    loss = lambda: ops.hidden_state_loss(students, teachers, kind="cosine")  # noqa: E731
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = run(loss, students)
        torch.set_num_threads(2)
        second = run(loss, students)
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_second_backward_pass_gives_the_same():
    students, teachers = make((5, 30), 2)
    loss = ops.hidden_state_loss(students, teachers, kind="cosine")
    first = [one.clone() for one in torch.autograd.grad(loss * 3, students, retain_graph=True)]
    for one, other in zip(first, torch.autograd.grad(loss * 3, students), strict=True):
        assert torch.equal(one, other)


def test_nothing_uninitialised_is_read(poisoned, run):
    students, teachers = make((5, 33), 2)
    mask = torch.tensor([True, True, False, True, True])
    for kind in ("cosine", "mse"):
        values = run(lambda kind=kind: ops.hidden_state_loss(students, teachers, mask, kind=kind), students)
        assert all(bool(value.isfinite().all()) for value in values)


def test_autocast_projects_low_and_sums_wide():
    students, teachers = make((5, 8))
    projection = torch.randn(8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ops.hidden_state_loss(students, teachers, kind="mse", projections=[projection])
    loss.backward()
    assert loss.dtype == torch.float32
    assert projection.grad.dtype == torch.float32
    low = functional.linear(students[0].bfloat16(), projection.bfloat16()).float()
    assert torch.allclose(loss, functional.mse_loss(low, teachers[0]), rtol=1e-5)


def test_the_reference_is_the_same_sum():
    students, teachers = make((6, 20), 2)
    wanted = reference.hidden_state_loss(students, teachers, None, "cosine", [0.5, 0.5])
    assert torch.allclose(ops.hidden_state_loss(students, teachers, kind="cosine"), wanted, rtol=1e-6)
