"""`harness doctor`, and the environment that every manifest records."""

from __future__ import annotations

import os

import pytest
import torch

from harness import ops
from harness.api.running import describe_environment
from harness.cli import doctor
from harness.limits import Limits
from harness.ops import pool


def test_doctor_checks_everything_a_user_may_need(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checks = {check.what: check for check in doctor.run_checks()}
    assert list(checks) == [
        "C++ compiler",
        "kernels",
        "processor",
        "threads",
        "memory",
        "GPU",
        "container engine",
        "hub",
        "node",
    ]
    assert all(check.state for check in checks.values())
    assert checks["hub"].state == "switched off by HF_HUB_OFFLINE"
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    checks = {check.what: check for check in doctor.run_checks()}
    assert checks["node"].state == "none"


@pytest.mark.parametrize(
    ("explained", "state", "advice"),
    [
        ((True, "from a pool"), "4.00 GiB, 1.00 GiB free; from a pool", ""),
        (
            (False, "HARNESS_POOL=0"),
            "4.00 GiB, 1.00 GiB free; no pool for trainings: HARNESS_POOL=0",
            "trainings need several times the memory without the pool",
        ),
    ],
)
def test_doctor_says_whether_trainings_use_the_memory_pool(explained, state, advice, monkeypatch):
    monkeypatch.setattr(pool, "explain_pool", lambda: explained)
    monkeypatch.setattr(Limits, "read_memory_limit", lambda _: 4 * 2**30)
    monkeypatch.setattr(Limits, "read_free_memory", lambda _: 2**30)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    memory = {check.what: check for check in doctor.run_checks()}["memory"]
    assert (memory.state, memory.advice) == (state, advice)


@pytest.mark.parametrize(
    ("implementation", "advice"),
    [
        ("compiled", "none is needed: the kernels are compiled"),
        ("reference", "install g++ (Debian: build-essential), then `make build`"),
    ],
)
def test_compiler_is_needed_only_to_build_kernels(implementation, advice, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(ops, "implementation", lambda *_: implementation)
    assert {check.what: check for check in doctor.run_checks()}["C++ compiler"].advice == advice


@pytest.mark.parametrize(
    ("listed", "state", "advice"),
    [
        ("", "none", "none is needed for the scales mini and small; paper needs one"),
        (
            "GPU 0: NVIDIA H100 (UUID: GPU-1)",
            "GPU 0: NVIDIA H100, which torch (CPU build) cannot use",
            "take a torch build for your driver: `rm -r .venv`, then `make build TORCH=torch==VERSION`",
        ),
    ],
)
def test_gpu_that_torch_cannot_use_is_reported(listed, state, advice, tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{listed}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    gpu = {check.what: check for check in doctor.run_checks()}["GPU"]
    assert (gpu.state, gpu.advice) == (state, advice)


def test_manifest_records_the_machine():
    recorded = describe_environment()
    assert recorded.device in {"cpu", "cuda"}
    assert recorded.threads == torch.get_num_threads()
    assert recorded.ops in {"compiled", "reference"}
    assert (
        recorded.versions["torch"] == torch.__version__.split("+")[0]
        or recorded.versions["torch"] == torch.__version__
    )
