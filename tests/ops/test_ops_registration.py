"""Every op's kernels are checked, its arguments are fuzzed, and the instruction sets agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness import ops

HERE = Path(__file__).parent
S, T = torch.randn(4, 10), torch.randn(4, 10)
Y = torch.tensor([1, 2, 3, -100])


def read_tests() -> str:
    return "\n".join(path.read_text() for path in sorted(HERE.glob("test_ops_*.py")))


def test_every_kernel_is_checked(compiled_only):
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("harness::")]
    kernels = {name.removeprefix("harness::").split(".")[0] for name in names}
    checked = set(re.findall(r'check_kernel\(\s*"(\w+)"', read_tests()))
    assert kernels - checked == {"schema_version", "instruction_set"}


def test_arguments_of_every_op_are_fuzzed():
    functions = {name for name in ops.__all__ if callable(getattr(ops, name)) and name == name.lower()}
    tests = read_tests()
    unfuzzed = {name for name in functions if f"fuzz_arguments(ops.{name}, " not in tests}
    assert unfuzzed == {"explanation", "implementation"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "distillation_loss",
            (S, T[:3], None, None, 1.0, "forward_kl", -100, False),
            "teacher_logits: expected 4×10; got 3×10",
        ),
        (
            "distillation_loss",
            (S, T, Y + 10, None, 1.0, "forward_kl", -100, False),
            "target: expected indices from 0 to 9",
        ),
        (
            "distillation_loss",
            (S, T, None, None, 0.0, "forward_kl", -100, False),
            "temperature: expected a number greater",
        ),
        (
            "distillation_loss",
            (S, T, None, None, 1.0, "kl", -100, False),
            "divergence: expected 'forward_kl' or",
        ),
        (
            "distillation_loss",
            (S.int(), T.int(), None, None, 1.0, "forward_kl", -100, False),
            "student_logits: expected float32",
        ),
        (
            "distillation_loss",
            (S, T.double(), None, None, 1.0, "forward_kl", -100, False),
            "teacher_logits: expected one dtype",
        ),
        (
            "distillation_loss_forward_backward_",
            (S[:1].expand(4, 10), T, None, None, torch.ones(2), 1.0, -100),
            "student_logits: expected contiguous rows that do not overlap",
        ),
        (
            "distillation_loss_backward",
            (torch.ones(4), torch.ones(4), S, T, None, None, torch.ones(4, 5), 1.0, "forward_kl", -100),
            "statistics: expected the statistics of the forward pass; got 4×5",
        ),
        ("hidden_state_loss", ([S], [T, T], None, "mse", [1.0], True), "teachers: expected 1 layers; got 2"),
        (
            "hidden_state_loss",
            ([S], [T], None, "mse", [], True),
            "weights: expected one weight for each layer; got 0",
        ),
        ("gelu_backward_", (S.clone(), T[:3], None), "pre: expected 4×10; got 3×10"),
        ("gelu_backward_", (S.clone(), T, torch.zeros(9)), "importance: expected 10 rows; got 9"),
    ],
)
def test_kernels_refuse_wrong_arguments_of_direct_callers(name, arguments, message, compiled_only):
    with pytest.raises(RuntimeError) as caught:
        getattr(torch.ops.harness, name)(*arguments)
    assert message in str(caught.value)


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
            expected = 0.5 * tau ** 2 * rows[0].mean() + 0.5 * rows[1].sum() / 3
            assert torch.allclose(loss, expected, rtol=1e-5), (dtype, divergence, loss, expected)
            assert torch.allclose(*(grad(one, student)[0] for one in (loss, expected)), **tight)
    for kind in ("cosine", "mse"):
        loss = ops.hidden_state_loss([student], [teacher], kind=kind)
        expected = reference.hidden_state_loss([student], [teacher], None, kind, [1.0])
        assert torch.allclose(loss, expected, rtol=1e-5)
        assert torch.allclose(*(grad(one, student)[0] for one in (loss, expected)), **tight)
    slope = torch.ones(4, 1043, dtype=dtype)
    importance = torch.zeros(1043, dtype=reference.widen(student).dtype)
    h, bias = torch.ops.harness.gelu_backward_(slope, student.detach(), importance)
    known = torch.nn.functional.gelu(student)
    assert torch.allclose(h, known, **tight)
    (expected,) = grad(known.sum(), student)
    assert torch.allclose(slope, expected, **tight)
    assert torch.allclose(bias, expected.to(bias.dtype).sum(0), rtol=2e-2 if low else 1e-5, atol=1e-2)
    score = reference.taylor_score(known, torch.ones_like(known)).detach()
    assert torch.allclose(importance, score, rtol=2e-2, atol=2e-2)
print("done")
"""


@pytest.mark.parametrize("isa", ["avx2", "baseline"])
def test_instruction_sets_agree(isa, compiled_only):
    if torch.ops.harness.instruction_set() == "baseline":
        pytest.skip("this machine has the baseline alone")
    done = subprocess.run(
        [sys.executable, "-c", ISA_SCRIPT.format(isa=isa)],
        env={**os.environ, "HARNESS_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr


def test_empty_vocabulary_of_a_direct_caller(compiled_only):
    mask, ones = torch.zeros(4, dtype=torch.bool), torch.ones(4)
    empty = torch.empty(4, 0)
    rest = (None, mask, torch.zeros(4, 6), 1.0, "forward_kl", -100)
    grad = torch.ops.harness.distillation_loss_backward(ones, ones, empty, empty, *rest)
    assert grad.shape == (4, 0)
