from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import ops
from harness.ops.chunks import default_chunk_size

SETTINGS = {"temperature": 2.0, "soft_weight": 0.7, "hard_weight": 0.3}


class Pair:
    """A student and a teacher of other widths over one vocabulary."""

    def __init__(self, rows: int, vocabulary: int, dtype: torch.dtype = torch.float32, *, bias: bool = True):
        torch.manual_seed(rows + vocabulary)
        self.hidden = torch.randn(rows, 24).to(dtype).requires_grad_()
        self.weight = torch.randn(vocabulary, 24).to(dtype).requires_grad_()
        self.teacher_hidden = torch.randn(rows, 40).to(dtype)
        self.teacher_weight = (torch.randn(vocabulary, 40) * 0.7).to(dtype)
        self.bias = torch.randn(vocabulary).to(dtype).requires_grad_() if bias else None
        self.teacher_bias = torch.randn(vocabulary).to(dtype) if bias else None
        self.target = torch.randint(0, vocabulary, (rows,))
        self.target[::4] = -100

    def tensors(self) -> list[Tensor]:
        return [one for one in (self.hidden, self.weight, self.bias) if one is not None]

    def widened(self) -> Pair:
        other = object.__new__(Pair)
        for name, value in vars(self).items():
            grown = value.detach().double() if value is not None and value.is_floating_point() else value
            learns = value is not None and value.requires_grad
            setattr(other, name, grown.requires_grad_() if learns else grown)
        return other

    def loss(self, **changed) -> Tensor:
        given = {"student_bias": self.bias, "teacher_bias": self.teacher_bias, **SETTINGS, **changed}
        return ops.linear_distillation_loss(
            self.hidden, self.weight, self.teacher_hidden, self.teacher_weight, self.target, **given
        )

    def eager(self) -> Tensor:
        logits = functional.linear(self.hidden, self.weight, self.bias)
        teacher = functional.linear(self.teacher_hidden, self.teacher_weight, self.teacher_bias)
        soft = functional.kl_div(
            functional.log_softmax(logits / 2, -1), functional.softmax(teacher / 2, -1), reduction="batchmean"
        )
        return 0.7 * 4 * soft + 0.3 * functional.cross_entropy(logits, self.target)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 1), (5, 17), (33, 1000), (7, 40000)])
def test_error_is_at_most_that_of_eager(rows, vocabulary, dtype, bias, run):
    """Loss and gradients have the rounding of the products, which eager PyTorch has too."""
    pair = Pair(rows, vocabulary, dtype, bias=bias)
    if bool((pair.target == -100).all()):
        pair.target[0] = 0
    wide = pair.widened()
    truth = run(wide.eager, wide.tensors(), 1.3)
    known = run(pair.eager, pair.tensors(), 1.3)
    result = run(lambda: pair.loss(chunk_size=16), pair.tensors(), 1.3)
    for one, eager, true in zip(result, known, truth, strict=True):
        norm = float(true.norm()) or 1.0
        mistake, usual = float((one.double() - true).norm()), float((eager.double() - true).norm())
        floor = (4e-3 if dtype == torch.bfloat16 else 1e-6) * norm
        assert mistake <= max(floor, 1.25 * usual)


def test_gradient_matches_finite_differences():
    pair = Pair(5, 11, torch.float64)
    mask = torch.tensor([True, False, True, True, True])

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        pair.hidden, pair.weight, pair.bias = hidden, weight, bias
        return pair.loss(chunk_size=2, soft_mask=mask)

    assert torch.autograd.gradcheck(loss, tuple(pair.tensors()))


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 9, 100, None])
def test_chunk_size_changes_nothing(chunk_size, run):
    pair = Pair(9, 50, torch.float64)
    mask = torch.tensor([True, True, False] * 3)
    whole = run(lambda: pair.loss(chunk_size=9, soft_mask=mask), pair.tensors())
    parts = run(lambda: pair.loss(chunk_size=chunk_size, soft_mask=mask), pair.tensors())
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_equals_the_loss_of_the_logits(run):
    pair = Pair(6, 30, torch.float64)
    logits = functional.linear(pair.hidden, pair.weight, pair.bias)
    teacher = functional.linear(pair.teacher_hidden, pair.teacher_weight, pair.teacher_bias)
    expected = run(lambda: ops.distillation_loss(logits, teacher, pair.target, **SETTINGS), pair.tensors())
    for one, other in zip(run(pair.loss, pair.tensors()), expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_trimmed_vocabulary_selects_the_teachers_rows():
    pair = Pair(6, 30, torch.float64)
    keep = torch.randperm(30)[:12]
    short = ops.linear_distillation_loss(
        pair.hidden,
        pair.weight[keep],
        pair.teacher_hidden,
        pair.teacher_weight,
        student_bias=pair.bias[keep],
        teacher_bias=pair.teacher_bias,
        vocab_index=keep,
        temperature=2.0,
        soft_weight=1.0,
        hard_weight=0.0,
    )
    logits = functional.linear(pair.hidden, pair.weight, pair.bias)[:, keep]
    teacher = functional.linear(pair.teacher_hidden, pair.teacher_weight, pair.teacher_bias)[:, keep]
    expected = ops.distillation_loss(logits, teacher, temperature=2.0, soft_weight=1.0, hard_weight=0.0)
    assert torch.allclose(short, expected, rtol=1e-12)


@pytest.mark.parametrize("learns", ["hidden", "weight", "bias", "nothing"])
def test_only_tensors_that_require_it_get_a_gradient(learns):
    pair = Pair(6, 30)
    for name in ("hidden", "weight", "bias"):
        setattr(pair, name, getattr(pair, name).detach().requires_grad_(name == learns))
    loss = pair.loss()
    assert loss.requires_grad == (learns != "nothing")
    if learns == "nothing":
        return
    full = Pair(6, 30)
    loss.backward()
    full.loss().backward()
    assert torch.allclose(getattr(pair, learns).grad, getattr(full, learns).grad, atol=1e-7)


def test_tied_embedding_gets_both_gradients():
    torch.manual_seed(0)
    embedding = nn.Embedding(30, 24)
    ids = torch.randint(0, 30, (6,))
    pair = Pair(6, 30)

    def grad(loss) -> Tensor:
        embedding.zero_grad()
        pair.hidden, pair.weight, pair.bias = embedding(ids).tanh(), embedding.weight, None
        loss().backward()
        return embedding.weight.grad.clone()

    pair.teacher_bias = None
    assert torch.allclose(grad(pair.loss), grad(pair.eager), atol=1e-5)


def test_gradients_of_a_second_backward_pass():
    pair = Pair(6, 30)
    loss = pair.loss()
    first = [one.clone() for one in torch.autograd.grad(loss * 2.0, pair.tensors(), retain_graph=True)]
    again = torch.autograd.grad(loss * 2.0, pair.tensors(), retain_graph=True)
    last = torch.autograd.grad(loss * 2.0, pair.tensors())
    for one, two, three in zip(first, again, last, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_no_rows_and_no_labels_give_zero(run):
    none = Pair(0, 20)
    values = run(none.loss, none.tensors())
    assert all(bool((value == 0).all()) for value in values)
    pair = Pair(4, 20)
    pair.target[:] = -100
    values = run(lambda: pair.loss(soft_mask=torch.zeros(4, dtype=torch.bool)), pair.tensors())
    assert all(bool((value == 0).all()) for value in values)


def test_no_uninitialised_memory_is_read(poisoned, run):
    pair = Pair(9, 100)
    for values in (run(lambda: pair.loss(chunk_size=4), pair.tensors()), [pair.widened().loss().detach()]):
        assert all(bool(value.isfinite().all()) for value in values)


def test_two_runs_give_equal_bits(run):
    pair = Pair(20, 500)
    for one, other in zip(run(pair.loss, pair.tensors()), run(pair.loss, pair.tensors()), strict=True):
        assert torch.equal(one, other)


def test_strides(run):
    pair = Pair(6, 30)
    plain = run(pair.loss, pair.tensors())
    hidden, weight, bias = pair.tensors()
    pair.hidden, pair.weight, pair.bias = (
        hidden.T.contiguous().T,
        weight.T.contiguous().T,
        bias.repeat(2)[::2],
    )
    pair.bias = torch.stack([bias, bias], 1)[:, 0]
    pair.teacher_hidden = torch.cat([pair.teacher_hidden] * 2, 1)[:, :40]
    for one, other in zip(run(pair.loss, [hidden, weight, bias]), plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_autocast_lowers_the_dtype_of_products_only():
    pair = Pair(8, 60)
    with torch.autocast("cpu", torch.bfloat16):
        loss = pair.loss()
        usual = pair.eager()
    loss.backward()
    assert loss.dtype == torch.float32
    assert pair.weight.grad.dtype == torch.float32
    assert abs(float(loss.detach()) / float(usual.detach()) - 1) < 2e-2
    low = Pair(8, 60, torch.bfloat16)
    assert abs(float(loss.detach()) / float(low.loss().detach()) - 1) < 1e-2


def test_default_chunk_size():
    large, small = (
        2 * 4 * 119547,
        2 * 2 * 40000,
    )  # bytes of a row in two models: fp32, and bf16 after trimming
    assert [default_chunk_size(rows, large) for rows in (0, 100, 512, 2048, 4096, 10**6)] == [
        *(16, 112, 128, 512, 1024, 1024)
    ]
    assert [default_chunk_size(rows, small) for rows in (0, 300, 614, 1000, 4096)] == [
        16,
        304,
        624,
        512,
        1024,
    ]


def test_logits_of_all_rows_never_exist(compiled_only, monkeypatch):
    """No tensor is larger than the logits of one chunk."""
    seen = []
    from harness.ops import chunks

    project = chunks._project

    def spy(projection, rows, out):
        seen.append(out.shape)
        return project(projection, rows, out)

    monkeypatch.setattr(chunks, "_project", spy)
    pair = Pair(40, 50)
    pair.loss(chunk_size=16)
    assert seen == [(16, 50)] * 6


def test_schema_fake_and_autograd_agree_with_the_kernel(check_kernel):
    pair = Pair(5, 11)
    student, teacher = pair.tensors(), (pair.teacher_hidden, pair.teacher_weight, pair.teacher_bias)
    settings = (2.0, 1.0, 0.0, -100, 2, True, True, True)
    check_kernel("linear_distillation_loss", *student, *teacher, None, None, *settings)


def test_torch_compile_takes_the_whole_graph(check_compile):
    pair = Pair(5, 20)
    index = torch.randperm(20)[:11]

    def loss(x: Tensor) -> Tensor:
        return ops.linear_distillation_loss(
            x,
            pair.weight[:11].detach(),
            pair.teacher_hidden,
            pair.teacher_weight,
            pair.target % 11,
            vocab_index=index,
            chunk_size=4,
            **SETTINGS,
        )

    check_compile(loss, pair.hidden.detach())


S = torch.randn(4, 10)
Y = torch.tensor([1, 2, 3, -100])
VALID = {
    "student_hidden": torch.randn(4, 6, requires_grad=True),
    "student_weight": torch.randn(10, 6),
    "teacher_hidden": torch.randn(4, 8),
    "teacher_weight": torch.randn(10, 8),
    "target": Y,
    "student_bias": torch.randn(10),
    "teacher_bias": torch.randn(10),
    "vocab_index": None,
    "temperature": 2.0,
    "soft_weight": 0.5,
    "hard_weight": 0.5,
    "ignore_index": -100,
    "soft_mask": torch.tensor([True, False, True, True]),
    "chunk_size": 2,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"student_hidden": S[0]}, "student_hidden: expected 2 dimensions; got 10"),
        ({"student_weight": torch.randn(10, 7)}, "student_weight: expected 10×6; got 10×7"),
        ({"student_weight": torch.randn(0, 6)}, "student_weight: expected one token or more; got 0×"),
        ({"teacher_hidden": torch.randn(3, 8)}, "teacher_hidden: expected 4×8; got 3×8"),
        ({"teacher_weight": torch.randn(10, 7)}, "teacher_weight: expected 10×8; got 10×7"),
        (
            {"teacher_weight": torch.randn(12, 8), "teacher_bias": None},
            "teacher_weight: expected 10 rows, or a vocab_index; got 12 rows",
        ),
        ({"teacher_hidden": torch.randn(4, 8).double()}, "teacher_hidden: expected float32; got float64"),
        ({"student_bias": torch.randn(9)}, "student_bias: expected 10; got 9"),
        ({"teacher_bias": torch.randn(9)}, "teacher_bias: expected 10; got 9"),
        ({"vocab_index": torch.arange(9)}, "vocab_index: expected 10; got 9"),
        ({"vocab_index": torch.arange(10).float()}, "vocab_index: expected int64; got float32"),
        ({"vocab_index": torch.arange(1, 11)}, "vocab_index: expected indices from 0 to 9; got 10"),
        ({"target": Y.clone().fill_(10)}, "target: expected indices from 0 to 9 or -100; got 10"),
        ({"target": None}, "target: expected labels, as hard_weight is 0.5; got none"),
        ({"soft_mask": torch.ones(5, dtype=torch.bool)}, "soft_mask: expected 4; got 5"),
        ({"temperature": 0.0}, "temperature: expected a number from 1e-18 to 1e+18; got 0.0"),
        ({"chunk_size": 0}, "chunk_size: expected a whole number from 1; got 0"),
        ({"student_hidden": None}, "student_hidden: expected a tensor; got NoneType"),
        ({"teacher_weight": [1.0]}, "teacher_weight: expected a tensor; got list"),
        ({"student_bias": 3}, "student_bias: expected a tensor; got int"),
        ({"student_hidden": torch.randn(4, 0)}, "student_hidden: expected a width of 1 or more; got 0"),
        ({"chunk_size": 2.0}, "chunk_size: expected a whole number from 1; got float"),
        ({"chunk_size": True}, "chunk_size: expected a whole number from 1; got bool"),
    ],
)
def test_wrong_arguments(changed, message, check_refusal):
    check_refusal(ops.linear_distillation_loss, VALID, changed, message)


def test_fuzz_of_arguments(fuzz_arguments):
    fuzz_arguments(ops.linear_distillation_loss, VALID)
