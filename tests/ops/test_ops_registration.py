from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from harness import ops

ROWS, VOCABULARY = 6, 17


def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    target = torch.tensor([1, 2, -100, 16, 0, 5])
    mask = torch.tensor([True, True, False, True, True, False])
    return torch.randn(ROWS, VOCABULARY), torch.randn(ROWS, VOCABULARY), target, mask


def cases() -> dict[str, tuple]:
    student, teacher, target, mask = tensors()
    learning = student.clone().requires_grad_()
    ones, numbers = torch.ones(ROWS), torch.rand(ROWS, 6)
    more = (teacher, target, mask, numbers, 2.0, "forward_kl", -100)
    hidden, weight = torch.randn(5, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    bias, other = (
        torch.randn(11, requires_grad=True),
        (torch.randn(5, 9), torch.randn(11, 9), torch.randn(11)),
    )
    ffn = (hidden, weight, bias, torch.randn(8, 11, requires_grad=True), torch.randn(8, requires_grad=True))
    return {
        "distillation_loss": (learning, teacher, target, mask, 2.0, "forward_kl", -100, False),
        "distillation_loss_backward": (ones, ones, student, *more),
        "distillation_loss_backward_": (ones, ones, student.clone(), *more),
        "distillation_loss_forward_backward_": (
            student.clone(),
            teacher,
            target,
            mask,
            torch.ones(2),
            2.0,
            -100,
        ),
        "hidden_state_loss": ([learning, student], [teacher, teacher], mask, "cosine", [0.5, 0.5], True),
        "gelu": (student,),
        "gelu_backward_": (student.clone(), teacher, torch.zeros(VOCABULARY)),
        "linear_gelu_linear": (*ffn, None),
        "linear_mse_logits_loss": (hidden, weight, bias, *other, None, None, True, True, True),
        "linear_distillation_loss": (
            *(hidden, weight, bias, *other),
            *(None, None, 2.0, 1.0, 0.0, -100, 2, True, True, True),
        ),
    }


@pytest.mark.parametrize("name", cases())
def test_schema_fake_and_autograd_agree_with_the_kernel(name, compiled_only):
    opcheck(getattr(torch.ops.harness, name).default, cases()[name])


def test_every_op_of_the_library_is_checked(compiled_only):
    schemas = {
        name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("harness::")
    }
    assert {name.split(".")[0] for name in schemas} == {*cases(), "schema_version", "instruction_set"}


def calls() -> dict[str, tuple]:
    student, teacher, target, mask = tensors()
    hidden, weight, importance = torch.randn(5, 8), torch.randn(11, 8), torch.zeros(11)
    hidden_t, weight_t, w_out = torch.randn(5, 9), torch.randn(20, 9), torch.randn(8, 11)
    labels, index, settings = target[:5] % 11, torch.randperm(20)[:11], {"temperature": 2.0}
    weights = {**settings, "soft_weight": 0.5, "hard_weight": 0.5}
    return {
        "distillation_loss": (
            lambda x: ops.distillation_loss(x * 1.0, teacher, target, soft_mask=mask, **weights),
            student,
        ),
        "in place": (
            lambda x: ops.distillation_loss(x * 1.0, teacher, target, inplace_backward=True, **weights),
            student,
        ),
        "linear_distillation_loss": (
            lambda x: ops.linear_distillation_loss(
                x, weight, hidden_t, weight_t, labels, vocab_index=index, chunk_size=4, **weights
            ),
            hidden,
        ),
        "linear_mse_logits_loss": (
            lambda x: ops.linear_mse_logits_loss(x, weight, hidden_t, weight_t[:11]),
            hidden,
        ),
        "hidden_state_loss": (
            lambda x: ops.hidden_state_loss(
                [x, x * 2],
                [hidden_t, hidden_t],
                kind="cosine",
                projections=[weight_t[:9, :8], weight_t[9:18, :8]],
            ),
            hidden,
        ),
        "linear_gelu_linear": (
            lambda x: (
                ops.linear_gelu_linear(x, weight, None, w_out, None, importance=importance).square().sum()
            ),
            hidden,
        ),
    }


@pytest.mark.parametrize("name", calls())
def test_torch_compile_takes_the_whole_graph(name):
    function, given = calls()[name]
    given.requires_grad_()
    wanted = function(given)
    (grad,) = torch.autograd.grad(wanted, given)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    value = compiled(given)
    (compiled_grad,) = torch.autograd.grad(value, given)
    assert torch.allclose(value, wanted, rtol=1e-6)
    assert torch.allclose(compiled_grad, grad, rtol=1e-5, atol=1e-7)


def test_importance_grows_under_torch_compile():
    x, w_in, w_out = torch.randn(5, 8, requires_grad=True), torch.randn(11, 8), torch.randn(8, 11)
    importances = [torch.zeros(11), torch.zeros(11)]

    def block(x: Tensor, importance: Tensor) -> Tensor:
        return ops.linear_gelu_linear(x, w_in, None, w_out, None, importance=importance).square().sum()

    block(x, importances[0]).backward()
    torch.compile(block, fullgraph=True, backend="aot_eager")(x, importances[1]).backward()
    assert bool((importances[0] > 0).all())
    assert torch.allclose(*importances, rtol=1e-5)


ISA_SCRIPT = """
import torch
from harness import ops
from harness.ops import reference
from torch.autograd import grad
assert torch.ops.harness.instruction_set() == "{isa}", torch.ops.harness.instruction_set()
torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    low = dtype == torch.bfloat16
    tight = {{"rtol": 1e-2, "atol": 1e-4}} if low else {{"rtol": 1e-5, "atol": 5e-7}}
    student, teacher = torch.randn(2, 4, 1043).to(dtype)
    student.requires_grad_()
    target = torch.tensor([3, -100, 1042, 0])
    for divergence in ("forward_kl", "reverse_kl"):
        for tau in (1.0, 2.0, 3.0):
            weights = {{"temperature": tau, "soft_weight": 0.5, "hard_weight": 0.5}}
            loss = ops.distillation_loss(student, teacher, target, divergence=divergence, **weights)
            rows = reference.distillation_rows(student, teacher, target, None, tau, divergence, -100)
            wanted = 0.5 * tau ** 2 * rows[0].mean() + 0.5 * rows[1].sum() / 3
            assert torch.allclose(loss, wanted, rtol=1e-5), (dtype, divergence, loss, wanted)
            assert torch.allclose(*(grad(one, student)[0] for one in (loss, wanted)), **tight)
    for kind in ("cosine", "mse"):
        loss = ops.hidden_state_loss([student], [teacher], kind=kind)
        wanted = reference.hidden_state_loss([student], [teacher], None, kind, [1.0])
        assert torch.allclose(loss, wanted, rtol=1e-5)
        assert torch.allclose(*(grad(one, student)[0] for one in (loss, wanted)), **tight)
    slope = torch.ones(4, 1043, dtype=dtype)
    importance = torch.zeros(1043, dtype=reference.widen(student).dtype)
    h, bias = torch.ops.harness.gelu_backward_(slope, student.detach(), importance)
    known = torch.nn.functional.gelu(student)
    assert torch.allclose(h, known, **tight)
    (wanted,) = grad(known.sum(), student)
    assert torch.allclose(slope, wanted, **tight)
    assert torch.allclose(bias, wanted.to(bias.dtype).sum(0), rtol=2e-2 if low else 1e-5, atol=1e-2)
    score = reference.taylor_score(known, torch.ones_like(known)).detach()
    assert torch.allclose(importance, score, rtol=2e-2, atol=2e-2)
print("done")
"""


@pytest.mark.parametrize("isa", ["avx2", "baseline"])
def test_every_instruction_set_computes_the_same(isa, compiled_only):
    if torch.ops.harness.instruction_set() == "baseline":
        pytest.skip("this machine has the baseline alone")
    found = subprocess.run(
        [sys.executable, "-c", ISA_SCRIPT.format(isa=isa)],
        env={**os.environ, "HARNESS_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == "done", found.stderr
