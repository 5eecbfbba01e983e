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
    """Return the loss as it is usually written."""
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
def test_error_is_at_most_that_of_eager(shape, dtype, kind, run, check_close):
    if kind == "cosine" and shape[-1] == 1:
        shape = (1, 2)  # the gradient of a cosine in one dimension is zero
    students, teachers = make(shape, 2, dtype)
    wide = [one.detach().double().requires_grad_() for one in students]
    truth = run(lambda: eager(wide, [one.double() for one in teachers], kind), wide, 1.7)
    known = run(lambda: eager(students, teachers, kind), students, 1.7)
    result = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students, 1.7)
    check_close(result, truth, known)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_equals_torchs_losses_in_float64(kind, run):
    students, teachers = make((2, 5, 9), 3, torch.float64)
    expected = run(lambda: eager(students, teachers, kind), students)
    result = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students)
    for one, other in zip(result, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_gradient_matches_finite_differences(kind):
    students, teachers = make((2, 3, 5), 2, torch.float64)
    projection = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, True, True]])

    def loss(first: Tensor, second: Tensor, projection: Tensor) -> Tensor:
        return ops.hidden_state_loss(
            [first, second], teachers, mask, kind=kind, projections=[None, projection], weights=[0.3, 2.0]
        )

    assert torch.autograd.gradcheck(loss, (*students, projection))


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_mask_selects_positions_and_others_may_be_nan(kind, run):
    students, teachers = make((2, 4, 6), 2, torch.float64)
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    chosen = [one.detach()[mask].requires_grad_() for one in students]
    expected = run(lambda: eager(chosen, [one[mask] for one in teachers], kind), chosen)
    with torch.no_grad():
        students[0][0, 3], teachers[1][1, 3] = float("nan"), float("inf")
    result = run(lambda: ops.hidden_state_loss(students, teachers, mask, kind=kind), students)
    assert torch.allclose(result[0], expected[0], rtol=1e-11)
    for grad, other in zip(result[1:], expected[1:], strict=True):
        assert torch.allclose(grad[mask], other, rtol=1e-10, atol=1e-15)
        assert bool((grad[~mask] == 0).all())


def test_weights_and_projections_of_layers():
    students, teachers = make((3, 4), 2, torch.float64)
    wider = [torch.randn(3, 6, dtype=torch.float64), teachers[1]]
    projection = torch.randn(6, 4, dtype=torch.float64)
    loss = ops.hidden_state_loss(
        students, wider, kind="mse", projections=[projection, None], weights=[0.5, 3.0]
    )
    expected = 0.5 * functional.mse_loss(students[0] @ projection.T, wider[0])
    expected = expected + 3.0 * functional.mse_loss(students[1], wider[1])
    assert torch.allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_no_positions_give_zero(kind, run):
    students, teachers = make((0, 4))
    assert ops.hidden_state_loss(students, teachers, kind=kind) == 0
    students, teachers = make((3, 4))
    nobody = torch.zeros(3, dtype=torch.bool)
    values = run(lambda: ops.hidden_state_loss(students, teachers, nobody, kind=kind), students)
    assert all(bool((value == 0).all()) for value in values)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_equal_models_have_no_loss_and_no_gradient(kind, run):
    students, _ = make((4, 300))
    loss, grad = run(lambda: ops.hidden_state_loss(students, [students[0].detach()], kind=kind), students)
    assert abs(float(loss)) < 1e-6
    assert float(grad.abs().max()) < 1e-6


def test_zero_and_large_vectors(run):
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
def test_nan_reaches_the_result(kind, run):
    students, teachers = make((3, 40))
    teachers[0][1, 39] = float("nan")
    loss, grad = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students)
    assert bool(loss.isnan())
    assert bool(grad[[0, 2]].isfinite().all())


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_strides(kind, run):
    students, teachers = make((6, 20))
    plain = run(lambda: ops.hidden_state_loss(students, teachers, kind=kind), students)
    turned = [students[0].T.contiguous().T], [torch.cat([teachers[0], teachers[0]], 1)[:, :20]]
    mixed = [torch.stack([students[0]] * 2, 1)[:, 1]], [teachers[0].T.contiguous().T]
    for pair in (turned, mixed):
        result = run(lambda pair=pair: ops.hidden_state_loss(*pair, kind=kind), students)
        for one, other in zip(result, plain, strict=True):
            assert torch.allclose(one, other, rtol=1e-6, atol=1e-9)


def test_result_is_independent_of_threads(run):
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


def test_gradients_of_a_second_backward_pass():
    students, teachers = make((5, 30), 2)
    loss = ops.hidden_state_loss(students, teachers, kind="cosine")
    first = [one.clone() for one in torch.autograd.grad(loss * 3, students, retain_graph=True)]
    for one, other in zip(first, torch.autograd.grad(loss * 3, students), strict=True):
        assert torch.equal(one, other)


def test_no_uninitialised_memory_is_read(poisoned, run):
    students, teachers = make((5, 33), 2)
    mask = torch.tensor([True, True, False, True, True])
    for kind in ("cosine", "mse"):
        values = run(lambda kind=kind: ops.hidden_state_loss(students, teachers, mask, kind=kind), students)
        assert all(bool(value.isfinite().all()) for value in values)


def test_autocast_lowers_the_projection_only():
    students, teachers = make((5, 8))
    projection = torch.randn(8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ops.hidden_state_loss(students, teachers, kind="mse", projections=[projection])
    loss.backward()
    assert loss.dtype == torch.float32
    assert projection.grad.dtype == torch.float32
    low = functional.linear(students[0].bfloat16(), projection.bfloat16()).float()
    assert torch.allclose(loss, functional.mse_loss(low, teachers[0]), rtol=1e-5)


def test_equals_the_reference():
    students, teachers = make((6, 20), 2)
    expected = reference.hidden_state_loss(students, teachers, None, "cosine", [0.5, 0.5])
    assert torch.allclose(ops.hidden_state_loss(students, teachers, kind="cosine"), expected, rtol=1e-6)


def test_schema_fake_and_autograd_agree_with_the_kernel(check_kernel):
    students, teachers = make((6, 17), 2)
    mask = torch.tensor([True, True, False, True, True, False])
    check_kernel("hidden_state_loss", students, teachers, mask, "cosine", [0.5, 0.5], True)


def test_torch_compile_takes_the_whole_graph(check_compile):
    students, _ = make((5, 8))
    teacher, projections = torch.randn(5, 9), list(torch.randn(2, 9, 8))
    check_compile(
        lambda x: ops.hidden_state_loss([x, x * 2], [teacher] * 2, kind="cosine", projections=projections),
        students[0].detach(),
    )


VALID = {
    "student_hiddens": [torch.randn(2, 3, 6, requires_grad=True)],
    "teacher_hiddens": [torch.randn(2, 3, 6)],
    "mask": torch.ones(2, 3, dtype=torch.bool),
    "kind": "mse",
    "projections": None,
    "weights": [0.5],
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "l1"}, "kind: expected 'cosine' or 'mse'; got 'l1'"),
        (
            {"student_hiddens": torch.randn(2, 6)},
            "student_hiddens: expected a list of one layer or more; got Tensor",
        ),
        ({"student_hiddens": []}, "student_hiddens: expected a list of one layer or more; got list"),
        ({"teacher_hiddens": []}, "teacher_hiddens: expected 1 layers, as student_hiddens has; got 0"),
        ({"weights": [1.0, 1.0]}, "weights: expected 1 layers, as student_hiddens has; got 2"),
        ({"weights": [-1.0]}, "weights[0]: expected a number from 0 to 1e+18; got -1.0"),
        ({"projections": [None, None]}, "projections: expected 1 layers, as student_hiddens has; got 2"),
        ({"teacher_hiddens": [torch.randn(2, 4, 6)]}, "teacher_hiddens[0]: expected 2×3×6; got 2×4×6"),
        (
            {"teacher_hiddens": [torch.randn(2, 3, 7)]},
            "student_hiddens[0]: expected width 7, or a projection; got width 6",
        ),
        ({"projections": [torch.randn(6, 5)]}, "projections[0]: expected 6×6; got 6×5"),
        ({"student_hiddens": [torch.randn(6)]}, "student_hiddens[0]: expected 2 dimensions; got 6"),
        ({"mask": torch.ones(2, 3)}, "mask: expected bool; got float32"),
        ({"mask": torch.ones(2, dtype=torch.bool)}, "mask: expected 2×3; got 2"),
        ({"teacher_hiddens": None}, "teacher_hiddens: expected a list of 1 layers; got NoneType"),
        ({"weights": 0.5}, "weights: expected a list of 1 layers; got float"),
        ({"weights": [None]}, "weights[0]: expected a number from 0 to 1e+18; got NoneType"),
        ({"student_hiddens": [None]}, "student_hiddens[0]: expected a tensor; got NoneType"),
        ({"projections": [3]}, "projections[0]: expected a tensor; got int"),
        (
            {"student_hiddens": [torch.randn(2, 3, 0)]},
            "student_hiddens[0]: expected a width of 1 or more; got 0",
        ),
        ({"kind": 1}, "kind: expected 'cosine' or 'mse'; got int"),
    ],
)
def test_wrong_arguments(changed, message, check_refusal):
    check_refusal(ops.hidden_state_loss, VALID, changed, message)


def test_fuzz_of_arguments(fuzz_arguments):
    fuzz_arguments(ops.hidden_state_loss, VALID)
