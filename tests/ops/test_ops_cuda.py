"""The GPU's kernels without a GPU: their code run on a CPU thread by thread, and their library loaded.

What this cannot show is what only a GPU has: memory ordering, speed, and the exponential's last bits. Tests
marked ``gpu`` run the ops there.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness import ops
from harness.ops import reference

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FORWARD, BACKWARD, BOTH = range(3)
KINDS = {"none": 0, "forward_kl": 1, "reverse_kl": 2}
DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@pytest.fixture(scope="session")
def host(tmp_path_factory) -> ctypes.CDLL:
    """Gives the launchers, compiled for the CPU."""
    compiler = os.environ.get("CXX", "c++").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"needs a C++ compiler: '{compiler}' is not on PATH")
    library = tmp_path_factory.mktemp("host") / "library.so"
    includes = [f"-I{HERE / 'cuda_on_host'}", f"-I{ROOT / 'csrc'}"]
    flags = ["-O1", "-std=c++20", "-shared", "-fPIC", "-pthread", *includes]
    subprocess.run(
        [compiler, *flags, str(HERE / "cuda_on_host" / "library.cpp"), "-o", str(library)], check=True
    )
    return ctypes.CDLL(str(library))


def call(function, *arguments) -> None:
    """Calls a launcher with tensors as pointers."""
    kinds = {int: ctypes.c_int64, float: ctypes.c_float, bool: ctypes.c_bool, type(None): ctypes.c_void_p}
    given = [
        ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else kinds[type(one)](one)
        for one in arguments
    ]
    function(*given)


class Rows:
    """A case of the distillation loss, and what the kernels write."""

    def __init__(self, vocabulary: int, dtype: torch.dtype, divergence: str, temperature: float):
        torch.manual_seed(vocabulary)
        self.num_rows, self.vocabulary, self.dtype = 4, vocabulary, dtype
        self.divergence, self.temperature = divergence, temperature
        self.student = (torch.randn(4, vocabulary) * 3).to(dtype)
        room = (torch.randn(4 * vocabulary + 1) * 3).to(dtype)
        apart = divergence == "reverse_kl"  # then no run of 16 bytes starts in both rows
        self.teacher = room[1:].view(4, vocabulary) if apart else room[:-1].view(4, vocabulary)
        self.target = torch.tensor([vocabulary - 1, -100, 0, -100])
        self.mask = torch.tensor([True, True, False, False])
        self.soft, self.hard = torch.zeros(4), torch.zeros(4)
        self.statistics, self.gradient = torch.zeros(4, 6), torch.full_like(self.student, float("nan"))
        self.slopes = torch.tensor([[0.5, 0.4, 0.3, 0.2], [0.6, 0.7, 0.8, 0.9]])

    def launch(
        self, host: ctypes.CDLL, passes: int, gradient: Tensor, slopes: tuple[Tensor, Tensor, int]
    ) -> None:
        function = getattr(host, f"distillation_{DTYPES[self.dtype]}")
        sizes = (self.num_rows, self.vocabulary, self.vocabulary)
        settings = (self.target, self.mask, KINDS[self.divergence], self.temperature)
        results = (self.soft, self.hard, self.statistics)
        call(function, passes, self.student, self.teacher, *sizes, *settings, *results, *slopes, gradient)

    def truth(self, slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wide = self.student.double().requires_grad_()
        given = (wide, self.teacher.double(), self.target, self.mask, self.temperature, self.divergence, -100)
        soft, hard = reference.distillation_rows(*given)
        (grad,) = torch.autograd.grad((slopes[0] * soft + slopes[1] * hard).sum(), wide)
        return soft.detach(), hard.detach(), grad


def close(result: Tensor, truth: Tensor, dtype: torch.dtype) -> bool:
    bound = 1e-2 if dtype == torch.bfloat16 else 2e-6
    return bool((result.double() - truth).norm() <= bound * truth.norm().clamp(min=1e-3))


@pytest.mark.parametrize(
    ("vocabulary", "dtype", "divergence", "temperature"),
    [
        (1, torch.float32, "forward_kl", 2.0),
        (17, torch.bfloat16, "forward_kl", 2.0),
        (9001, torch.float32, "forward_kl", 2.0),
        (9001, torch.bfloat16, "forward_kl", 1.0),
        (9003, torch.float32, "reverse_kl", 3.0),
        (4099, torch.bfloat16, "reverse_kl", 2.0),
    ],
)
def test_the_loss_from_logits_thread_by_thread(host, vocabulary, dtype, divergence, temperature):
    rows = Rows(vocabulary, dtype, divergence, temperature)
    soft, hard, grad = rows.truth(rows.slopes)
    slopes = (rows.slopes[0], rows.slopes[1], 1)
    rows.launch(host, FORWARD, rows.gradient, slopes)
    assert torch.allclose(rows.soft.double(), soft, rtol=2e-6, atol=2e-6)
    assert torch.allclose(rows.hard.double(), hard, rtol=2e-6, atol=2e-6)
    rows.launch(host, BACKWARD, rows.gradient, slopes)
    assert close(rows.gradient, grad, dtype)
    assert bool((rows.gradient[3] == 0).all())
    before = rows.gradient.clone()
    rows.launch(host, BACKWARD, rows.student, slopes)  # in place
    assert torch.equal(rows.student, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_passes_of_a_row_at_once_thread_by_thread(host, dtype):
    rows = Rows(3001, dtype, "forward_kl", 2.0)
    one = torch.tensor([[0.25], [0.75]])
    soft, hard, grad = rows.truth(one.expand(2, 4))
    rows.launch(host, BOTH, rows.student, (one[0].clone(), one[1].clone(), 0))
    assert torch.allclose(rows.soft.double(), soft, rtol=2e-6, atol=2e-6)
    assert torch.allclose(rows.hard.double(), hard, rtol=2e-6, atol=2e-6)
    assert close(rows.student, grad, dtype)


def test_minus_infinity_nan_and_a_wrong_label_thread_by_thread(host):
    rows = Rows(2500, torch.float32, "forward_kl", 2.0)
    rows.mask[:] = True
    rows.teacher[0, :2100] = -float("inf")
    rows.student[0, :1000] = -float("inf")
    rows.target[0], rows.target[2] = 2400, 2500  # the second lies outside the vocabulary
    rows.student[1, 7] = float("nan")
    slopes = (rows.slopes[0], rows.slopes[1], 1)
    rows.launch(host, FORWARD, rows.gradient, slopes)
    rows.launch(host, BACKWARD, rows.gradient, slopes)
    wanted = Rows(2500, torch.float32, "forward_kl", 2.0)
    wanted.student, wanted.teacher = rows.student[:1].repeat(4, 1), rows.teacher[:1].repeat(4, 1)
    wanted.target[:], wanted.mask[:] = 2400, True
    soft, hard, grad = wanted.truth(rows.slopes)
    assert torch.allclose(rows.soft[0].double(), soft[0], rtol=2e-6)
    assert torch.allclose(rows.hard[0].double(), hard[0], rtol=2e-6)
    assert close(rows.gradient[0], grad[0], torch.float32)
    assert bool(rows.soft[1].isnan())
    assert bool(rows.gradient[1].isnan().any())
    assert bool(rows.hard[2].isnan())
    assert bool(rows.gradient[2].isnan().any())
    assert bool(rows.gradient[3].isfinite().all())


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_tokens_masked_by_infinity_and_by_a_large_number_thread_by_thread(host, divergence):
    rows = Rows(2500, torch.float32, divergence, 2.0)
    leading, other = (
        (rows.teacher, rows.student) if divergence == "forward_kl" else (rows.student, rows.teacher)
    )
    leading[:, :1100], other[:, :1100] = -1e4, -float("inf")
    leading[1, 8:16], leading[1, 16:1100] = -60.0, -1e9
    rows.target[2], rows.mask[:] = 1200, True
    soft, hard, grad = rows.truth(rows.slopes)
    slopes = (rows.slopes[0], rows.slopes[1], 1)
    rows.launch(host, FORWARD, rows.gradient, slopes)
    rows.launch(host, BACKWARD, rows.gradient, slopes)
    assert torch.allclose(rows.soft.double(), soft, rtol=2e-6)
    assert torch.allclose(rows.hard.double(), hard, rtol=2e-6)
    finite = soft.isfinite()
    assert finite.tolist() == [True, False, True, True]
    assert close(rows.gradient[finite], grad[finite], torch.float32)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("cosine", torch.float32), ("mse", torch.float32), ("cosine", torch.bfloat16)]
)
@pytest.mark.parametrize("width", [40, 37])
def test_the_loss_of_hidden_states_thread_by_thread(host, kind, dtype, width):
    torch.manual_seed(width)
    student, teacher = torch.randn(2, 11, width).to(dtype)
    mask = torch.tensor([True, False] * 5 + [True])
    loss, count, sums, slope = (
        torch.zeros(1),
        torch.zeros(1),
        torch.zeros(11),
        torch.full_like(student, float("nan")),
    )
    function = getattr(host, f"hidden_{DTYPES[dtype]}")
    call(function, student, teacher, 11, width, mask, kind == "cosine", 0.5, loss, count, sums, slope)
    wide = student.double().requires_grad_()
    truth = reference.hidden_state_loss([wide], [teacher.double()], mask, kind, [0.5])
    (grad,) = torch.autograd.grad(truth, wide)
    assert torch.allclose(loss[0].double(), truth, rtol=1e-6)
    assert close(slope, grad, dtype)
    assert bool((slope[~mask] == 0).all())


def test_gelu_and_its_backward_thread_by_thread(host):
    torch.manual_seed(0)
    pre, slope = torch.randn(2, 70, 37) * 2
    h, bias, importance, partial = torch.zeros(70, 37), torch.zeros(37), torch.ones(37), torch.zeros(4, 37)
    call(host.gelu_float32, pre, h, pre.numel())
    assert torch.allclose(h, functional.gelu(pre), atol=1e-6)
    wide = pre.double().requires_grad_()
    truth = functional.gelu(wide)
    (grad,) = torch.autograd.grad(truth, wide, slope.double())
    score = (truth.detach() * slope.double()).sum(0).abs()
    h.zero_()
    call(host.gelu_backward_float32, pre, slope, h, partial, bias, importance, 70, 37)
    assert torch.allclose(h, functional.gelu(pre), atol=1e-6)
    assert torch.allclose(slope.double(), grad, atol=1e-5)
    assert torch.allclose(bias.double(), grad.sum(0), atol=1e-4)
    assert torch.allclose(importance.double(), 1 + score, atol=1e-4)


def test_the_library_loads_beside_a_torch_without_cuda():
    found = sorted((ROOT / "harness" / "ops").glob("_kernels_cuda*.so"))
    if not found or ops.implementation() != "compiled":
        pytest.skip("needs the CUDA library; HARNESS_CUDA=1 builds it where nvcc is")
    assert ops.implementation("cuda") == "compiled"
    for name in (
        "distillation_loss",
        "distillation_loss_backward_",
        "hidden_state_loss",
        "gelu",
        "gelu_backward_",
    ):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"harness::{name}", "CUDA")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vocabulary", [17, 40000, 119547])
def test_the_losses_on_a_gpu(vocabulary, dtype):
    assert ops.implementation("cuda") == "compiled"
    torch.manual_seed(0)
    student = torch.randn(33, vocabulary).to(dtype)
    teacher, target = torch.randn(33, vocabulary).to(dtype), torch.randint(0, vocabulary, (33,))
    weights = {"temperature": 2.0, "soft_weight": 0.5, "hard_weight": 0.5}
    values = {}
    for inplace in (False, True):
        logits = student.cuda().requires_grad_()
        loss = ops.distillation_loss(
            logits, teacher.cuda(), target.cuda(), inplace_backward=inplace, **weights
        )
        loss.backward()
        values[inplace] = (loss.detach().cpu(), logits.grad.cpu())
    wide = student.double().requires_grad_()
    truth = ops.distillation_loss(wide, teacher.double(), target, **weights)
    truth.backward()
    for loss, grad in values.values():
        assert torch.allclose(loss.double(), truth.detach(), rtol=1e-5)
        bound = 2e-6 if dtype == torch.float32 else 4e-3
        assert float((grad.double() - wide.grad).norm() / wide.grad.norm()) < bound


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(
    "name", ["linear_distillation_loss", "linear_mse_logits_loss", "hidden_state_loss", "linear_gelu_linear"]
)
def test_the_other_ops_on_a_gpu_agree_with_the_cpu(name):
    torch.manual_seed(0)
    hidden, weight, teacher, other = (torch.randn(*one) for one in ((70, 64), (999, 64), (70, 96), (999, 96)))
    w_out, weights = torch.randn(64, 999) / 30, {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
    calls = {
        "linear_distillation_loss": lambda x, *all: ops.linear_distillation_loss(
            x, *all[:3], chunk_size=32, **weights
        ),
        "linear_mse_logits_loss": lambda x, *all: ops.linear_mse_logits_loss(x, *all[:3]),
        "hidden_state_loss": lambda x, *all: ops.hidden_state_loss([x], [all[1][:, :64]], kind="cosine"),
        "linear_gelu_linear": lambda x, *all: (
            ops.linear_gelu_linear(x, all[0], None, all[3], None).square().mean()
        ),
    }
    results = []
    for device in ("cpu", "cuda"):
        x = hidden.to(device).requires_grad_()
        loss = calls[name](x, *(one.to(device) for one in (weight, teacher, other, w_out)))
        loss.backward()
        results.append((loss.detach().cpu(), x.grad.cpu()))
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, rtol=1e-3, atol=1e-5)
