from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from harness import ops
from harness.errors import HarnessError

BOTH = {"temperature": 2.0, "soft_weight": 0.7, "hard_weight": 0.3}
SOFT = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
HARD = {"temperature": 1.0, "soft_weight": 0.0, "hard_weight": 1.0}


def make(rows: int, vocabulary: int, dtype: torch.dtype, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(rows * 1000 + vocabulary)
    student = (torch.randn(rows, vocabulary) * scale).to(dtype).requires_grad_()
    teacher = (torch.randn(rows, vocabulary) * scale).to(dtype)
    target = torch.randint(0, vocabulary, (rows,))
    target[1::3] = -100
    return student, teacher, target


def eager(student: Tensor, teacher: Tensor, target: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Return the loss as it is usually written."""
    temperature, soft_weight, hard_weight = weights
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, -1),
        functional.softmax(teacher / temperature, -1),
        reduction="batchmean",
    )
    return soft_weight * temperature**2 * soft + hard_weight * functional.cross_entropy(student, target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.5])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (7, 2), (7, 15), (7, 16), (7, 17), (1, 1025), (3, 2047), (5, 40000), (1, 119547), (1, 250002)],
)
def test_error_is_at_most_that_of_eager(shape, temperature, dtype, run, check_close):
    student, teacher, target = make(*shape, dtype)
    weights = (temperature, 0.7, 0.3)
    wide = student.detach().double().requires_grad_()
    truth = run(lambda: eager(wide, teacher.double(), target, weights), [wide], 1.7)
    known = run(lambda: eager(student, teacher, target, weights), [student], 1.7)
    result = run(
        lambda: ops.distillation_loss(
            student, teacher, target, temperature=temperature, soft_weight=0.7, hard_weight=0.3
        ),
        [student],
        1.7,
    )
    assert result[0].dtype == torch.float32
    assert result[1].dtype == dtype
    check_close(result, truth, known)


def test_equals_torchs_losses_in_float64():
    student, teacher, target = make(9, 33, torch.float64)
    tau = 2.5
    soft = ops.distillation_loss(student, teacher, temperature=tau, soft_weight=1.0, hard_weight=0.0)
    logs = functional.log_softmax(student / tau, -1), functional.softmax(teacher / tau, -1)
    assert torch.allclose(soft, torch.nn.KLDivLoss(reduction="batchmean")(*logs) * tau**2, rtol=1e-12)
    hard = ops.distillation_loss(student, teacher, target, **HARD)
    assert torch.allclose(hard, torch.nn.CrossEntropyLoss()(student, target), rtol=1e-12)
    logs = functional.log_softmax(teacher / tau, -1), functional.softmax(student / tau, -1)
    back = ops.distillation_loss(
        student, teacher, temperature=tau, soft_weight=1.0, hard_weight=0.0, divergence="reverse_kl"
    )
    assert torch.allclose(back, torch.nn.KLDivLoss(reduction="batchmean")(*logs) * tau**2, rtol=1e-12)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.7])
def test_gradient_matches_finite_differences(divergence, temperature):
    student, teacher, target = make(5, 19, torch.float64)
    mask = torch.tensor([True, True, False, True, False])

    def loss(logits: Tensor) -> Tensor:
        return ops.distillation_loss(
            logits,
            teacher,
            target,
            temperature=temperature,
            soft_weight=0.6,
            hard_weight=0.4,
            divergence=divergence,
            soft_mask=mask,
        )

    assert torch.autograd.gradcheck(loss, (student,))


def test_error_of_the_reverse_gradient(run, check_close):
    student, teacher, target = make(5, 4001, torch.float32)
    wide = student.detach().double().requires_grad_()

    def reverse(logits: Tensor, other: Tensor) -> Tensor:
        logs, others = functional.log_softmax(logits / 2, -1), functional.log_softmax(other / 2, -1)
        soft = (logs.exp() * (logs - others)).sum(-1).mean()
        return 0.7 * 4 * soft + 0.3 * functional.cross_entropy(logits, target)

    truth = run(lambda: reverse(wide, teacher.double()), [wide])
    known = run(lambda: reverse(student, teacher), [student])
    loss = lambda: ops.distillation_loss(student, teacher, target, divergence="reverse_kl", **BOTH)  # noqa: E731
    check_close(run(loss, [student]), truth, known)


def test_mask_and_labels_select_rows(run):
    student, teacher, target = make(8, 21, torch.float64)
    mask = torch.tensor([True, False, True, True, False, False, True, True])
    masked = run(lambda: ops.distillation_loss(student, teacher, soft_mask=mask, **SOFT), [student])
    chosen = run(lambda: ops.distillation_loss(student[mask], teacher[mask], **SOFT), [student])
    for one, other in zip(masked, chosen, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-15)
    kept = target != -100
    hard = run(lambda: ops.distillation_loss(student, teacher, target, **HARD), [student])
    chosen = run(lambda: functional.cross_entropy(student[kept], target[kept]), [student])
    for one, other in zip(hard, chosen, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-15)


def test_another_ignore_index():
    student, teacher, target = make(6, 12, torch.float64)
    other = torch.where(target == -100, 7, target)
    kept = other != 7
    hard = ops.distillation_loss(student, teacher, other, ignore_index=7, **HARD)
    assert torch.allclose(hard, functional.cross_entropy(student[kept], other[kept]), rtol=1e-12)


@pytest.mark.parametrize("inplace", [False, True])
def test_no_rows_give_zero(inplace, run):
    empty, teacher, target = make(0, 17, torch.float32)
    assert ops.distillation_loss(empty, teacher, target, inplace_backward=inplace, **BOTH) == 0
    student, teacher, target = make(4, 17, torch.float32)
    nobody = torch.zeros(4, dtype=torch.bool)
    ignored = torch.full_like(target, -100)
    loss, grad = run(
        lambda: ops.distillation_loss(
            student, teacher, ignored, soft_mask=nobody, inplace_backward=inplace, **BOTH
        ),
        [student],
    )
    assert loss == 0
    assert bool((grad == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_logits_keep_precision(dtype, run, check_close):
    student, teacher, target = make(4, 1500, dtype)
    with torch.no_grad():
        student[0] *= 3000
        teacher[1] -= 10000
        student[2] += 10000
        student[3], teacher[3] = 5.0, -7.0
    wide = student.detach().double().requires_grad_()
    truth = run(lambda: eager(wide, teacher.double(), target, (2.0, 0.7, 0.3)), [wide])
    known = run(lambda: eager(student, teacher, target, (2.0, 0.7, 0.3)), [student])
    check_close(run(lambda: ops.distillation_loss(student, teacher, target, **BOTH), [student]), truth, known)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_equal_models_have_no_loss_and_no_gradient(divergence, run):
    student, _, _ = make(4, 5000, torch.float32)
    teacher = student.detach().clone()
    loss, grad = run(
        lambda: ops.distillation_loss(student, teacher, divergence=divergence, **SOFT), [student]
    )
    assert abs(float(loss)) < 1e-6
    assert float(grad.abs().max()) < 1e-7


def test_shift_of_all_logits_changes_nothing():
    student, teacher, target = make(4, 3000, torch.float64)
    loss = ops.distillation_loss(student, teacher, target, **BOTH)
    moved = ops.distillation_loss(student + 1000.0, teacher - 500.0, target, **BOTH)
    assert torch.allclose(loss, moved, rtol=1e-11)


@pytest.mark.parametrize("vocabulary", [40, 2500])
def test_tokens_masked_in_both_models(vocabulary, run):
    """Zero probability in both models leaves a finite loss, equal to the loss without those tokens."""
    student, teacher, target = make(4, vocabulary, torch.float64)
    target = target % (vocabulary - 20)
    with torch.no_grad():
        student[:, -20:] = -float("inf")
        teacher[:, -20:] = -float("inf")
    loss, grad = run(lambda: ops.distillation_loss(student, teacher, target, **BOTH), [student])
    short = student.detach()[:, :-20].requires_grad_()
    expected = run(lambda: ops.distillation_loss(short, teacher[:, :-20], target, **BOTH), [short])
    assert torch.allclose(loss, expected[0], rtol=1e-12)
    assert torch.allclose(grad[:, :-20], expected[1], rtol=1e-10, atol=1e-15)
    assert bool((grad[:, -20:] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("masked_first", [True, False])
@pytest.mark.parametrize("large", [-1e4, -1e9, torch.finfo(torch.bfloat16).min])
def test_tokens_masked_by_infinity_and_by_a_large_number(large, masked_first, divergence, dtype, run):
    """The first 1,100 tokens, or the last, are masked, with one convention in each model."""
    student, teacher, target = make(4, 3000, dtype)
    target = 1200 + target % 600
    masked = slice(0, 1100) if masked_first else slice(1900, None)
    leading, other = (teacher, student) if divergence == "forward_kl" else (student, teacher)
    with torch.no_grad():
        leading[:, masked], other[:, masked] = large, -float("inf")
    result = run(
        lambda: ops.distillation_loss(student, teacher, target, divergence=divergence, **BOTH), [student]
    )
    wide = student.detach().double().requires_grad_()
    kept = torch.ones(3000, dtype=torch.bool).index_fill(0, torch.arange(3000)[masked], False)
    truth = run(
        lambda: ops.distillation_loss(
            wide[:, kept],
            teacher.double()[:, kept],
            torch.where(target == -100, -100, kept.cumsum(0)[target] - 1),
            divergence=divergence,
            **BOTH,
        ),
        [wide],
    )
    assert torch.allclose(result[0].double(), truth[0], rtol=1e-6)
    error = (result[1].double() - truth[1]).norm() / truth[1].norm()
    assert float(error) < (4e-3 if dtype == torch.bfloat16 else 1e-6)


SPECIAL = (-float("inf"), -1e4, -1e9, torch.finfo(torch.float32).min, -60.0, -90.0, -200.0, 60.0)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_order_of_the_vocabulary_changes_nothing(data):
    """Ranges of tokens hold masks of either model; an infinite loss stays infinite in every order."""
    divergence = data.draw(st.sampled_from(["forward_kl", "reverse_kl"]))
    temperature = data.draw(st.sampled_from([0.5, 1.0, 2.0, 3.5]))
    vocabulary = data.draw(st.integers(1, 4000))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    student, teacher = torch.randn(2, 2, vocabulary, generator=generator) * 3
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, vocabulary - 1))
        stop = data.draw(st.integers(start + 1, vocabulary))
        student[:, start:stop] = data.draw(st.sampled_from(SPECIAL))
        teacher[:, start:stop] = data.draw(st.sampled_from(SPECIAL))

    def loss_and_gradient(order: Tensor) -> tuple[Tensor, Tensor]:
        logits = student[:, order].requires_grad_()
        loss = ops.distillation_loss(
            logits,
            teacher[:, order],
            temperature=temperature,
            soft_weight=1.0,
            hard_weight=0.0,
            divergence=divergence,
        )
        (grad,) = torch.autograd.grad(loss, logits)
        return loss.detach(), grad

    order = torch.randperm(vocabulary, generator=generator)
    loss, grad = loss_and_gradient(torch.arange(vocabulary))
    for other in (order, torch.arange(vocabulary).flip(0)):
        shuffled, shuffled_grad = loss_and_gradient(other)
        if float(loss) > 1e30:  # near float32's largest number, where a sum may overflow in one order
            assert float(shuffled) > 1e30
            continue
        assert torch.allclose(shuffled, loss, rtol=1e-5, atol=1e-4, equal_nan=True)
        bound = 1e-5 * max(1.0, float(loss))  # the reverse gradient is a difference of terms of that size
        assert torch.allclose(shuffled_grad, grad[:, other], rtol=1e-4, atol=bound, equal_nan=True)


@pytest.mark.parametrize("first", [True, False])
def test_tokens_masked_in_one_model(first, run):
    """The whole first blocks, or the last, are masked; the other model is finite there."""
    student, teacher, _ = make(3, 2600, torch.float32)
    out = slice(0, 2100) if first else slice(500, None)
    with torch.no_grad():
        teacher[:, out] = -float("inf")
    loss, grad = run(lambda: ops.distillation_loss(student, teacher, **SOFT), [student])
    wide = student.detach().double()
    logs = functional.log_softmax(wide / 2, -1)
    share = functional.softmax(teacher.double() / 2, -1)
    log_share = functional.log_softmax(teacher.double() / 2, -1)
    truth = 4 * torch.where(share == 0, 0.0, share * (log_share - logs)).sum(-1).mean()
    assert abs(float(loss) / float(truth) - 1) < 1e-6
    assert torch.allclose(grad.double(), 2 * (logs.exp() - share) / 3, atol=1e-7)
    swapped, grad = run(
        lambda: ops.distillation_loss(teacher.requires_grad_(), wide.float(), **SOFT), [teacher]
    )
    assert float(swapped) == float("inf")
    assert bool(grad.isfinite().all())
    reverse, grad = run(
        lambda: ops.distillation_loss(teacher, wide.float(), divergence="reverse_kl", **SOFT), [teacher]
    )
    assert bool(reverse.isfinite())
    assert bool((grad[:, out] == 0).all())
    assert bool(grad.isfinite().all())


def test_label_on_a_masked_token_costs_infinity():
    student, teacher, target = make(3, 20, torch.float32)
    with torch.no_grad():
        student[0, 4] = -float("inf")
    target[0] = 4
    assert ops.distillation_loss(student, teacher, target, **HARD) == float("inf")


@pytest.mark.parametrize("place", [0, 17, 1999])
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_nan_stays_in_its_row(whose, place, run):
    student, teacher, target = make(3, 2000, torch.float32)
    with torch.no_grad():
        (student if whose == "student" else teacher)[1, place] = float("nan")
    loss, grad = run(lambda: ops.distillation_loss(student, teacher, target, **BOTH), [student])
    assert bool(loss.isnan())
    assert bool(grad[1].isnan().any())
    assert not bool(grad[[0, 2]].isnan().any())


def test_row_without_tokens_is_nan_unless_masked(run):
    student, teacher, target = make(3, 50, torch.float32)
    with torch.no_grad():
        teacher[1] = -float("inf")
    assert bool(ops.distillation_loss(student, teacher, **SOFT).isnan())
    with torch.no_grad():
        student[1], teacher[1] = float("nan"), float("inf")
    mask = torch.tensor([True, False, True])
    target[1] = -100
    loss, grad = run(
        lambda: ops.distillation_loss(student, teacher, target, soft_mask=mask, **BOTH), [student]
    )
    assert bool(loss.isfinite())
    assert bool((grad[1] == 0).all())
    assert bool(grad.isfinite().all())


@pytest.mark.parametrize("layout", ["transposed", "columns", "rows", "expanded"])
@pytest.mark.parametrize("inplace", [False, True])
def test_strides(layout, inplace, run):
    student, teacher, target = make(6, 48, torch.float32)
    plain = run(lambda: ops.distillation_loss(student, teacher, target, **BOTH), [student])
    view = {
        "transposed": lambda one: one.T.contiguous().T,
        "columns": lambda one: torch.cat([one, one], 1)[:, :48],
        "rows": lambda one: torch.stack([one, one], 1)[:, 0],
        "expanded": lambda one: one[:1].expand(6, 48),
    }[layout]
    if layout == "expanded":
        plain = run(
            lambda: ops.distillation_loss(student[:1].repeat(6, 1), teacher[:1].repeat(6, 1), target, **BOTH),
            [student],
        )
    result = run(
        lambda: ops.distillation_loss(view(student), view(teacher), target, inplace_backward=inplace, **BOTH),
        [student],
    )
    for one, other in zip(result, plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-8)


def test_strides_of_labels_and_mask():
    student, teacher, target = make(6, 30, torch.float32)
    mask = torch.tensor([True, False] * 3)
    plain = ops.distillation_loss(student, teacher, target, soft_mask=mask, **BOTH)
    spread = ops.distillation_loss(
        student, teacher, torch.stack([target, target], 1)[:, 0], soft_mask=mask.repeat(2, 1).T[:, 0], **BOTH
    )
    assert torch.equal(plain, spread)


def test_gradients_of_a_second_backward_pass(run):
    student, teacher, target = make(4, 70, torch.float32)
    loss = ops.distillation_loss(student, teacher, target, **BOTH)
    (first,) = torch.autograd.grad(loss * 3.0, student, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(loss * 3.0, student)
    assert torch.equal(kept, second)
    assert torch.equal(kept, first)


def test_inplace_writes_the_gradient_over_the_logits(compiled_only):
    student, teacher, target = make(5, 300, torch.float32)
    expected = torch.autograd.grad(ops.distillation_loss(student, teacher, target, **BOTH), student)[0]
    logits = student * 1.0
    loss = ops.distillation_loss(logits, teacher, target, inplace_backward=True, **BOTH)
    assert torch.equal(logits.detach(), student.detach())
    (grad,) = torch.autograd.grad(loss, logits, retain_graph=True)
    assert grad.data_ptr() == logits.data_ptr()
    assert torch.allclose(grad, expected, atol=1e-9)
    with pytest.raises(
        HarnessError, match=r"student_logits: expected the logits of the forward pass; got logits"
    ):
        torch.autograd.grad(loss, logits)


def test_second_derivative_is_refused(compiled_only):
    student, teacher, target = make(4, 20, torch.float64)
    loss = ops.distillation_loss(student, teacher, target, **BOTH)
    with pytest.raises(
        HarnessError, match="distillation_loss: backward: expected create_graph=False; got True"
    ):
        torch.autograd.grad(loss, student, create_graph=True)


def test_result_is_independent_of_threads(run):
    student, teacher, target = make(33, 3001, torch.float32)
    loss = lambda: ops.distillation_loss(student, teacher, target, **BOTH)  # noqa: E731
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = run(loss, [student])
        torch.set_num_threads(2)
        second = run(loss, [student])
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_no_uninitialised_memory_is_read(poisoned, run):
    student, teacher, target = make(5, 1030, torch.float32)
    for values in (
        run(lambda: ops.distillation_loss(student, teacher, target, **BOTH), [student]),
        run(lambda: ops.distillation_loss(student, teacher, divergence="reverse_kl", **SOFT), [student]),
    ):
        assert all(bool(value.isfinite().all()) for value in values)


def test_components_add_up_to_the_loss():
    student, teacher, target = make(6, 40, torch.float32)
    loss, soft, hard = ops.distillation_loss(student, teacher, target, return_components=True, **BOTH)
    assert torch.allclose(loss, 0.7 * soft + 0.3 * hard)
    assert torch.allclose(hard, functional.cross_entropy(student, target))
    assert not soft.requires_grad
    assert not hard.requires_grad
    alone = ops.distillation_loss(student, teacher, return_components=True, **SOFT)
    assert float(alone.hard) == 0.0
    assert torch.allclose(alone.soft, soft)


def test_teacher_gets_no_gradient():
    student, teacher, target = make(3, 20, torch.float32)
    teacher.requires_grad_()
    ops.distillation_loss(student, teacher, target, **BOTH).backward()
    assert teacher.grad is None


def test_value_without_gradients():
    student, teacher, target = make(3, 20, torch.float32)
    loss = ops.distillation_loss(student, teacher, target, **BOTH)
    with torch.no_grad():
        assert torch.equal(
            ops.distillation_loss(student, teacher, target, inplace_backward=True, **BOTH), loss
        )


def test_offsets_beyond_32_bits(compiled_only):
    """Rows 2³⁰ elements apart: the third starts at 2³¹."""
    room = torch.empty(2**31 + 700, dtype=torch.bfloat16)
    far = room.as_strided((3, 700), (2**30, 1))
    student, teacher, target = make(3, 700, torch.bfloat16)
    with torch.no_grad():
        far.copy_(student)
    expected = torch.autograd.grad(ops.distillation_loss(student, teacher, target, **BOTH), student)[0]
    logits = far.requires_grad_()
    loss = ops.distillation_loss(logits, teacher, target, inplace_backward=True, **BOTH)
    (grad,) = torch.autograd.grad(loss, logits)
    assert grad.data_ptr() == room.data_ptr()
    assert torch.equal(grad, expected)


def test_schema_fake_and_autograd_agree_with_the_kernels(check_kernel):
    torch.manual_seed(0)
    target, mask = torch.tensor([1, 2, -100, 16, 0, 5]), torch.tensor([True, True, False, True, True, False])
    student, teacher = torch.randn(2, 6, 17)
    ones, pair = torch.ones(6), (teacher, target, mask)
    rest = (*pair, torch.rand(6, 6), 2.0, "forward_kl", -100)
    check_kernel("distillation_loss", student.clone().requires_grad_(), *pair, 2.0, "forward_kl", -100, False)
    check_kernel("distillation_loss_backward", ones, ones, student, *rest)
    check_kernel("distillation_loss_backward_", ones, ones, student.clone(), *rest)
    check_kernel("distillation_loss_forward_backward_", student.clone(), *pair, torch.ones(2), 2.0, -100)


@pytest.mark.parametrize("inplace", [False, True])
def test_torch_compile_takes_the_whole_graph(inplace, check_compile):
    student, teacher, target = make(6, 17, torch.float32)
    check_compile(
        lambda x: ops.distillation_loss(x * 1.0, teacher, target, inplace_backward=inplace, **BOTH),
        student.detach(),
    )


S, T = torch.randn(4, 10, requires_grad=True), torch.randn(4, 10)
Y = torch.tensor([1, 2, 3, -100])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors are a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(3)])
VALID = {
    "student_logits": S,
    "teacher_logits": T,
    "target": Y,
    "temperature": 2.0,
    "soft_weight": 0.5,
    "hard_weight": 0.5,
    "divergence": "forward_kl",
    "ignore_index": -100,
    "soft_mask": torch.tensor([True, False, True, True]),
    "inplace_backward": False,
    "return_components": False,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"student_logits": [[1.0]]}, "student_logits: expected a tensor; got list"),
        ({"student_logits": S[0]}, "student_logits: expected 2 dimensions; got 10"),
        ({"student_logits": torch.tensor(1.0)}, "student_logits: expected 2 dimensions; got no dimensions"),
        ({"student_logits": S.int()}, "student_logits: expected float32 or bfloat16 or float64; got int32"),
        (
            {"student_logits": S.half()},
            "student_logits: expected float32 or bfloat16 or float64; got float16",
        ),
        ({"student_logits": S.to("meta")}, "student_logits: expected a tensor on cpu or cuda; got meta"),
        (
            {"student_logits": S.to_sparse()},
            "student_logits: expected a strided tensor; got layout sparse_coo",
        ),
        (
            {"student_logits": S[:, :0], "teacher_logits": T[:, :0]},
            "student_logits: expected a width of 1 or more; got 0",
        ),
        ({"teacher_logits": None}, "teacher_logits: expected a tensor; got NoneType"),
        ({"teacher_logits": T[:, :9]}, "teacher_logits: expected 4×10; got 4×9"),
        ({"teacher_logits": T[:3]}, "teacher_logits: expected 4×10; got 3×10"),
        ({"teacher_logits": T.double()}, "teacher_logits: expected float32; got float64"),
        ({"target": Y.int()}, "target: expected int64; got int32"),
        ({"target": Y[:3]}, "target: expected 4; got 3"),
        ({"target": [1, 2, 3, 4]}, "target: expected a tensor; got list"),
        ({"target": Y.clone().fill_(10)}, "target: expected indices from 0 to 9 or -100; got 10"),
        ({"target": Y.clone().fill_(-1)}, "target: expected indices from 0 to 9 or -100; got -1"),
        ({"target": Y, "ignore_index": -1}, "target: expected indices from 0 to 9 or -1; got -100"),
        ({"target": Y.to("meta")}, "target: expected a tensor on cpu or cuda; got meta"),
        ({"target": None}, "target: expected labels, as hard_weight is 0.5; got none"),
        ({"soft_mask": torch.ones(4)}, "soft_mask: expected bool; got float32"),
        ({"soft_mask": torch.ones(5, dtype=torch.bool)}, "soft_mask: expected 4; got 5"),
        ({"temperature": 0}, "temperature: expected a number from 1e-18 to 1e+18; got 0"),
        ({"temperature": -1.0}, "temperature: expected a number from 1e-18 to 1e+18; got -1.0"),
        ({"temperature": float("nan")}, "temperature: expected a number from 1e-18 to 1e+18; got nan"),
        ({"temperature": float("inf")}, "temperature: expected a number from 1e-18 to 1e+18; got inf"),
        ({"soft_weight": -0.1}, "soft_weight: expected a number from 0 to 1e+18; got -0.1"),
        ({"hard_weight": float("inf")}, "hard_weight: expected a number from 0 to 1e+18; got inf"),
        ({"divergence": "jsd"}, "divergence: expected 'forward_kl' or 'reverse_kl'; got 'jsd'"),
        ({"temperature": True}, "temperature: expected a number from 1e-18 to 1e+18; got bool"),
        ({"temperature": 1e300}, "temperature: expected a number from 1e-18 to 1e+18; got 1e+300"),
        (
            {"temperature": 10**400},
            "temperature: expected a number from 1e-18 to 1e+18; got a number of more than 64 bits",
        ),
        ({"soft_weight": "0.5"}, "soft_weight: expected a number from 0 to 1e+18; got str"),
        ({"ignore_index": 0.5}, "ignore_index: expected a whole number of 64 bits; got float"),
        (
            {"ignore_index": 2**63},
            "ignore_index: expected a whole number of 64 bits; got a number of more than 64 bits",
        ),
        ({"divergence": None}, "divergence: expected 'forward_kl' or 'reverse_kl'; got NoneType"),
        ({"inplace_backward": 1}, "inplace_backward: expected True or False; got int"),
        ({"return_components": None}, "return_components: expected True or False; got NoneType"),
        ({"target": Y.to_sparse()}, "target: expected a strided tensor; got layout sparse_coo"),
        (
            {"student_logits": NESTED},
            "student_logits: expected a strided tensor; got a nested tensor",
        ),
    ],
)
def test_wrong_arguments(changed, message, check_refusal):
    check_refusal(ops.distillation_loss, VALID, changed, message)


def test_fuzz_of_arguments(fuzz_arguments):
    fuzz_arguments(ops.distillation_loss, VALID)
