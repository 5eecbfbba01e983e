"""The CUDA kernels without a GPU: their code on a CPU, each CUDA thread a fiber; loading of their library.

A CPU cannot show memory ordering, speed, and the last bits of the GPU's exponential. Tests marked ``gpu`` run
the ops on a GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from harness import ops

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOST = HERE / "cuda_on_host"
CASES = os.environ.get("HARNESS_FUZZ_CASES", "5000")
SEED = os.environ.get("HARNESS_FUZZ_SEED", "0")
"""A long run: ``HARNESS_FUZZ_CASES=200000 HARNESS_FUZZ_SEED=7 pytest tests/ops/test_ops_cuda.py``."""


def compile_object(source: Path, folder: Path, *flags: str, csrc: Path = ROOT / "csrc") -> Path:
    compiler = os.environ.get("CXX", "c++").split()
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"needs a C++ compiler: '{compiler[0]}' is not on PATH")
    target = folder / f"{source.stem}.o"
    includes = [f"-I{HOST}", f"-I{csrc}"]
    aligned = ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]  # traps as a GPU would
    given = [*includes, *aligned, *flags, "-c", str(source), "-o", str(target)]
    command = [*compiler, "-O1", "-std=c++20", *given]
    subprocess.run(command, check=True)
    return target


def link(objects: list[Path], folder: Path, *flags: str) -> Path:
    compiler = os.environ.get("CXX", "c++").split()
    subprocess.run([*compiler, *flags, *map(str, objects), "-o", str(folder / "fuzz")], check=True)
    return folder / "fuzz"


@pytest.fixture(scope="session")
def runner(tmp_path_factory) -> list[Path]:
    """The objects that every fuzz program consists of: the fibers and main."""
    folder = tmp_path_factory.mktemp("runner")
    return [compile_object(HOST / name, folder) for name in ("fibers.cpp", "fuzz.cpp")]


def test_random_cases_match_a_reference_in_higher_precision(runner, tmp_path):
    """Shapes, strides, alignments, masks, labels, special values and the order of the threads are random."""
    ops_sources = sorted(set(HOST.glob("*.cpp")) - {HOST / "fibers.cpp", HOST / "fuzz.cpp"})
    fuzz = link([*runner, *(compile_object(source, tmp_path) for source in ops_sources)], tmp_path)
    done = subprocess.run([fuzz, CASES, SEED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(" 0 failed") >= 4 * len(ops_sources)


def test_every_op_with_cuda_kernels_has_random_cases():
    folders = {path.parent.name for path in (ROOT / "csrc").glob("*/rows.cuh")}
    assert folders <= {path.stem for path in HOST.glob("*.cpp")}


class Mutation(NamedTuple):
    """A fault put into a kernel.

    Attributes:
        op: the folder of csrc.
        old: the text that is replaced at its first place in rows.cuh.
        new: the text that it is replaced by.
    """

    op: str
    old: str
    new: str


BARRIER = "  __syncthreads();\n"
MUTATIONS = {
    "merge_block without its barrier": Mutation("distillation_loss", BARRIER, ""),
    "forward_row without its barrier": Mutation(
        "distillation_loss", f"  }}\n{BARRIER}  return shared;", "  }\n  return shared;"
    ),
    "half of a warp merged": Mutation("distillation_loss", "distance = 16", "distance = 8"),
    "the smaller maximum": Mutation("distillation_loss", "fmaxf(left, right)", "fminf(left, right)"),
    "zero times infinity": Mutation("distillation_loss", "leading == A(0) ? A(0) : leading", "leading"),
    "not summed again from the maxima": Mutation("distillation_loss", "if (!finite)", "if (false)"),
    "the last elements left out": Mutation(
        "distillation_loss", "v = tail + threadIdx.x", "v = tail + 1 + threadIdx.x"
    ),
    "16-byte accesses at any address": Mutation(
        "distillation_loss", "runs = kind == Divergence::none || same_phase(s_V, t_V)", "runs = true"
    ),
    "the label's gradient added": Mutation("distillation_loss", "grad -= terms", "grad += terms"),
    "sum_block without its barrier": Mutation("hidden_state_loss", BARRIER, ""),
    "a warp summed by half": Mutation("hidden_state_loss", "distance > 0", "distance > 1"),
    "masked rows without a gradient of zero": Mutation(
        "hidden_state_loss", "if (layer.grad_ND) {", "if (false) {"
    ),
    "gelu_backward without its barrier": Mutation("linear_gelu_linear", BARRIER, ""),
    "the last warp's sums left out": Mutation(
        "linear_gelu_linear", "warp < kColumnWarps", "warp < kColumnWarps - 1"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_fuzz_catches_a_mutation(name, runner, tmp_path):
    mutation = MUTATIONS[name]
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    path = tmp_path / "csrc" / mutation.op / "rows.cuh"
    text = path.read_text()
    assert mutation.old in text
    path.write_text(text.replace(mutation.old, mutation.new, 1))
    source = HOST / f"{mutation.op}.cpp"
    mutated = compile_object(source, tmp_path, "-DFUZZ_FLOAT_ONLY", "-O0", csrc=tmp_path / "csrc")
    done = subprocess.run([link([*runner, mutated], tmp_path), "1000"], capture_output=True, check=False)
    assert done.returncode != 0


RACES = (
    "",
    "forward_row without its barrier",
    "sum_block without its barrier",
    "gelu_backward without its barrier",
)
"""The kernels as they are, and without barriers. The barrier of merge_block is left to the values: gcc does
not instrument the copy of a struct that is passed by value, which is what it protects."""
thread_sanitizer = pytest.mark.skipif(
    "HARNESS_TSAN" not in os.environ, reason="takes minutes; `make sanitize` runs it (HARNESS_TSAN=1)"
)


@thread_sanitizer
@pytest.mark.parametrize("name", RACES)
def test_only_a_missing_barrier_is_a_race(name, tmp_path):
    """ThreadSanitizer takes each CUDA thread for a thread that nothing but a barrier orders."""
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    if name:
        mutation = MUTATIONS[name]
        path = tmp_path / "csrc" / mutation.op / "rows.cuh"
        path.write_text(path.read_text().replace(mutation.old, mutation.new, 1))
    checked = [source for source in sorted(HOST.glob("*.cpp")) if source.stem != "fibers"]
    objects = [
        compile_object(source, tmp_path, "-fsanitize=thread", csrc=tmp_path / "csrc") for source in checked
    ]
    objects.append(compile_object(HOST / "fibers.cpp", tmp_path, "-DHOST_TSAN"))
    fuzz = link(objects, tmp_path, "-fsanitize=thread")
    done = subprocess.run(
        [fuzz, "32" if name else "160", SEED],
        env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("data race" in done.stderr) == bool(name), done.stderr[:2000]
    assert (done.returncode == 0) == (not name)


def test_library_loads_with_a_torch_without_cuda():
    libraries = sorted((ROOT / "harness" / "ops").glob("_kernels_cuda*.so"))
    if not libraries or ops.implementation() != "compiled":
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
def test_losses_on_a_gpu(vocabulary, dtype):
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
def test_other_ops_on_a_gpu_agree_with_the_cpu(name):
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
