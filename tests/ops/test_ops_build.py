"""What is built where: setup.py's settings, and the rule that checks the kernels on a GPU."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
TOOL = """#!/bin/sh
echo "$(basename "$0") HARNESS_CUDA=$HARNESS_CUDA HARNESS_OPS=$HARNESS_OPS $*" >> "$STUB_LOG"
"""


@pytest.fixture
def build(monkeypatch):
    """Return what setup.py defines; nothing is built."""
    for name in ("HARNESS_CUDA", "HARNESS_COMPILE", "HARNESS_CUDA_ARCHITECTURES", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setenv("HARNESS_COMPILE", "0")
    defined = runpy.run_path(str(ROOT / "setup.py"))
    monkeypatch.delenv("HARNESS_COMPILE")
    return SimpleNamespace(**defined)


@pytest.fixture
def nvcc(tmp_path, monkeypatch):
    """Put an nvcc on PATH, or make PATH empty."""

    def put(there: bool) -> None:
        if there:
            (tmp_path / "nvcc").write_text("#!/bin/sh\n")
            (tmp_path / "nvcc").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


CPU_TORCH = SimpleNamespace(version=SimpleNamespace(cuda=None))
CUDA_TORCH = SimpleNamespace(version=SimpleNamespace(cuda="13.0"))


@pytest.mark.parametrize(
    ("expected", "torch", "there"),
    [
        ("1", CPU_TORCH, True),
        ("1", CUDA_TORCH, True),
        ("auto", CUDA_TORCH, True),
        (None, CUDA_TORCH, True),
        ("0", CUDA_TORCH, True),
        ("auto", CPU_TORCH, True),
        ("auto", CUDA_TORCH, False),
    ],
)
def test_when_cuda_is_built(expected, torch, there, build, nvcc, monkeypatch):  # noqa: PLR0917
    if expected is not None:
        monkeypatch.setenv("HARNESS_CUDA", expected)
    nvcc(there)
    built = expected == "1" or (expected != "0" and torch is CUDA_TORCH and there)
    assert build.needs_cuda(torch) is built


def test_cuda_without_the_toolkit_is_an_error(build, nvcc, monkeypatch):
    monkeypatch.setenv("HARNESS_CUDA", "1")
    nvcc(False)
    with pytest.raises(SystemExit) as caught:
        build.needs_cuda(CPU_TORCH)
    assert str(caught.value) == (
        "setup: HARNESS_CUDA=1: expected the CUDA toolkit; got no nvcc on PATH or in CUDA_HOME"
    )


@pytest.mark.parametrize("name", ["HARNESS_CUDA", "HARNESS_COMPILE"])
def test_unknown_setting_is_refused(name, build, monkeypatch):
    monkeypatch.setenv(name, "yes")
    with pytest.raises(SystemExit) as caught:
        build.read_setting(name)
    assert str(caught.value) == f"setup: {name}: expected 0, 1 or auto; got 'yes'"


def test_missing_compiler(build, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.setup_arguments() == {}
    assert "no C++ compiler: 'no-such-compiler' is not on PATH" in capsys.readouterr().err
    monkeypatch.setenv("HARNESS_COMPILE", "1")
    with pytest.raises(SystemExit, match="setup: no C\\+\\+ compiler: 'no-such-compiler' is not on PATH"):
        build.setup_arguments()


def test_architectures(build, monkeypatch):
    assert build.cuda_targets() == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]
    monkeypatch.setenv("HARNESS_CUDA_ARCHITECTURES", "90")
    assert len(build.cuda_targets()) == 2


def test_every_source_is_built(build):
    for suffix in (".cpp", ".cu"):
        paths = (ROOT / "csrc").rglob(f"*{suffix}")
        assert build.find_sources(suffix) == sorted(str(path.relative_to(ROOT)) for path in paths)


@pytest.fixture
def check_gpu(tmp_path):
    """Run ``make gpu-check`` with tools that only log their calls."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    tools, venv = tmp_path / "tools", tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    tools.mkdir()
    for path in (venv / "bin" / "python", tools / "compute-sanitizer"):
        path.write_text(TOOL)
        path.chmod(0o755)

    def run(listing: str | None) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        if listing is not None:
            (tools / "nvidia-smi").write_text(f"#!/bin/sh\necho '{listing}'\n")
            (tools / "nvidia-smi").chmod(0o755)
        log = tmp_path / "log"
        log.touch()
        done = subprocess.run(
            ["make", "-C", str(ROOT), "--no-print-directory", f"VENV={venv}", "gpu-check"],
            env={"PATH": f"{tools}:{os.environ['PATH']}", "STUB_LOG": str(log)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done, log.read_text().splitlines()

    return run


@pytest.mark.parametrize("listing", [None, "No devices found."])
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="needs a machine without a GPU's tools")
def test_gpu_check_without_a_gpu(listing, check_gpu):
    done, calls = check_gpu(listing)
    assert done.returncode == 2
    message, *rest = done.stderr.splitlines()
    assert message == (
        "gpu-check: expected an NVIDIA GPU; got none that nvidia-smi lists; run it on a machine with a GPU"
    )
    assert len(rest) <= 1, "make's own word that the rule failed"
    assert calls == []


def test_gpu_check_with_a_gpu(check_gpu):
    done, calls = check_gpu("GPU 0: NVIDIA H200")
    assert done.returncode == 0, done.stderr
    *_, install, report, tests, sanitizer, record = calls
    assert install.startswith("python HARNESS_CUDA=1 ")
    assert install.endswith("-m pip install --quiet --no-deps --no-build-isolation --editable .")
    assert "ops.implementation() == " in report
    assert tests == "python HARNESS_CUDA= HARNESS_OPS=compiled -m pytest tests/ops"
    assert sanitizer.startswith("compute-sanitizer ")
    assert sanitizer.endswith("-m pytest tests/ops -m gpu")
    assert record.endswith("HARNESS_OPS=compiled -m benchmarks.ops --device cuda --record benchmarks/records")
