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

    def wanted(self) -> list[Tensor]:
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
def test_it_is_as_near_the_truth_as_eager(rows, vocabulary, dtype, bias, run):
    """Its loss and gradients carry the products' rounding, so that eager's error is the measure."""
    pair = Pair(rows, vocabulary, dtype, bias=bias)
    if bool((pair.target == -100).all()):
        pair.target[0] = 0
    wide = pair.widened()
    truth = run(wide.eager, wide.wanted(), 1.3)
    known = run(pair.eager, pair.wanted(), 1.3)
    result = run(lambda: pair.loss(chunk_size=16), pair.wanted(), 1.3)
    for one, eager, true in zip(result, known, truth, strict=True):
        norm = float(true.norm()) or 1.0
        mistake, usual = float((one.double() - true).norm()), float((eager.double() - true).norm())
        floor = (4e-3 if dtype == torch.bfloat16 else 1e-6) * norm
        assert mistake <= max(floor, 1.25 * usual)


def test_its_gradient_is_the_difference_quotient():
    pair = Pair(5, 11, torch.float64)
    mask = torch.tensor([True, False, True, True, True])

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        pair.hidden, pair.weight, pair.bias = hidden, weight, bias
        return pair.loss(chunk_size=2, soft_mask=mask)

    assert torch.autograd.gradcheck(loss, tuple(pair.wanted()))


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 9, 100, None])
def test_the_chunk_size_changes_nothing(chunk_size, run):
    pair = Pair(9, 50, torch.float64)
    mask = torch.tensor([True, True, False] * 3)
    whole = run(lambda: pair.loss(chunk_size=9, soft_mask=mask), pair.wanted())
    parts = run(lambda: pair.loss(chunk_size=chunk_size, soft_mask=mask), pair.wanted())
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_it_equals_the_loss_of_the_logits(run):
    pair = Pair(6, 30, torch.float64)
    logits = functional.linear(pair.hidden, pair.weight, pair.bias)
    teacher = functional.linear(pair.teacher_hidden, pair.teacher_weight, pair.teacher_bias)
    wanted = run(lambda: ops.distillation_loss(logits, teacher, pair.target, **SETTINGS), pair.wanted())
    for one, other in zip(run(pair.loss, pair.wanted()), wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_a_trimmed_vocabulary_meets_the_teachers_rows():
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
    wanted = ops.distillation_loss(logits, teacher, temperature=2.0, soft_weight=1.0, hard_weight=0.0)
    assert torch.allclose(short, wanted, rtol=1e-12)


@pytest.mark.parametrize("learns", ["hidden", "weight", "bias", "nothing"])
def test_only_what_learns_gets_a_gradient(learns):
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


def test_a_weight_tied_to_an_embedding_gathers_both_gradients():
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


def test_a_second_backward_pass_gives_the_same():
    pair = Pair(6, 30)
    loss = pair.loss()
    first = [one.clone() for one in torch.autograd.grad(loss * 2.0, pair.wanted(), retain_graph=True)]
    again = torch.autograd.grad(loss * 2.0, pair.wanted(), retain_graph=True)
    last = torch.autograd.grad(loss * 2.0, pair.wanted())
    for one, two, three in zip(first, again, last, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_no_row_and_no_label_give_zero(run):
    none = Pair(0, 20)
    values = run(none.loss, none.wanted())
    assert all(bool((value == 0).all()) for value in values)
    pair = Pair(4, 20)
    pair.target[:] = -100
    values = run(lambda: pair.loss(soft_mask=torch.zeros(4, dtype=torch.bool)), pair.wanted())
    assert all(bool((value == 0).all()) for value in values)


def test_nothing_uninitialised_is_read(poisoned, run):
    pair = Pair(9, 100)
    for values in (run(lambda: pair.loss(chunk_size=4), pair.wanted()), [pair.widened().loss().detach()]):
        assert all(bool(value.isfinite().all()) for value in values)


def test_two_runs_agree_to_the_bit(run):
    pair = Pair(20, 500)
    for one, other in zip(run(pair.loss, pair.wanted()), run(pair.loss, pair.wanted()), strict=True):
        assert torch.equal(one, other)


def test_strided_tensors(run):
    pair = Pair(6, 30)
    plain = run(pair.loss, pair.wanted())
    hidden, weight, bias = pair.wanted()
    pair.hidden, pair.weight, pair.bias = (
        hidden.T.contiguous().T,
        weight.T.contiguous().T,
        bias.repeat(2)[::2],
    )
    pair.bias = torch.stack([bias, bias], 1)[:, 0]
    pair.teacher_hidden = torch.cat([pair.teacher_hidden] * 2, 1)[:, :40]
    for one, other in zip(run(pair.loss, [hidden, weight, bias]), plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_autocast_takes_it_down_and_gives_gradients_in_the_parameters_dtype():
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


def test_chunks_are_a_quarter_of_the_rows_within_bounds():
    assert [default_chunk_size(rows) for rows in (0, 512, 2048, 4096, 10**6)] == [128, 128, 512, 1024, 1024]


def test_it_never_holds_the_logits_of_all_rows(compiled_only, monkeypatch):
    """The largest tensor made is a chunk's logits."""
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
