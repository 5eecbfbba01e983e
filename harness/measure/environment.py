"""Describe the machine, the versions and the code of a measurement. An unknown entry is None."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

import harness

PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy")
FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_CPUINFO = Path("/proc/cpuinfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CHECKOUT = Path(__file__).resolve().parents[2]


def describe(checkout: Path = _CHECKOUT) -> dict[str, object]:
    """Return the machine, the versions and the code.

    Invariants: the same keys on every machine; nothing new is imported, so that it is cheap.

    Args:
        checkout: the folder whose commit is read.
    """
    cpu = _read_cpuinfo()
    commit, dirty = _read_commit(checkout)
    return {
        "cpu": cpu.get("model name") or platform.processor() or None,
        "architecture": platform.machine() or None,
        "cores": _count_cores(),
        "isa": _list_flags(cpu),
        "memory_bytes": _read_memory_bytes(),
        "os": platform.platform() or None,
        "python": platform.python_version(),
        "versions": {name: find_version(name) for name in PACKAGES} | {"harness": harness.__version__},
        "threads": _count_threads(),
        "gpu": _name_gpu(),
        "commit": commit,
        "dirty": dirty,
    }


def _read_cpuinfo() -> dict[str, str]:
    """Return the first core's entry."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _list_flags(cpu: dict[str, str]) -> list[str] | None:
    listed = cpu.get("flags") or cpu.get("Features")
    return None if listed is None else [flag for flag in FLAGS if flag in listed.split()]


def _count_cores() -> int | None:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _read_memory_bytes() -> int:
    """Return the machine's memory, or the container's limit where that is smaller."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return total


def find_version(package: str) -> str | None:
    """Return the installed version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _count_threads() -> int | None:
    """Return the threads of torch where it is loaded, else OpenMP's number of the environment."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdigit() else None


def _name_gpu() -> str | None:
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else None


def _read_commit(checkout: Path) -> tuple[str | None, bool | None]:
    """Return the commit and whether files differ from it; both None outside a checkout of this project.

    A container has no checkout: the variables HARNESS_COMMIT and HARNESS_DIRTY name the one it was built
    from.
    """
    if not (checkout / ".git").exists():
        commit = os.environ.get("HARNESS_COMMIT")
        return commit, None if commit is None else os.environ.get("HARNESS_DIRTY") == "1"
    answers = []
    for question in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        command = ["git", "-C", str(checkout), *question]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None, None
        answers.append(answer.stdout.strip())
    return answers[0], bool(answers[1])
