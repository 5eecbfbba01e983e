"""What a number was measured on. Every entry is None where it cannot be known."""

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
    """Describe the machine, the versions and the code.

    Invariants: the same keys on every machine; nothing is imported that was not before, so that it is cheap.

    Args:
        checkout: the folder that is asked for its commit.
    """
    cpu = _cpuinfo()
    commit, dirty = _commit(checkout)
    return {
        "cpu": cpu.get("model name") or platform.processor() or None,
        "architecture": platform.machine() or None,
        "cores": _cores(),
        "isa": _flags(cpu),
        "memory_bytes": _memory_bytes(),
        "os": platform.platform() or None,
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES} | {"harness": harness.__version__},
        "threads": _threads(),
        "gpu": _gpu(),
        "commit": commit,
        "dirty": dirty,
    }


def _cpuinfo() -> dict[str, str]:
    """Read the first core's entry."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _flags(cpu: dict[str, str]) -> list[str] | None:
    listed = cpu.get("flags") or cpu.get("Features")
    return None if listed is None else [flag for flag in FLAGS if flag in listed.split()]


def _cores() -> int | None:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int:
    """Return the machine's memory, or the container's limit where that is smaller."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return total


def version_of(package: str) -> str | None:
    """Return the installed version of a package; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> int | None:
    """Return the threads of torch where it is loaded, else what the environment asks of OpenMP."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else None


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else None


def _commit(checkout: Path) -> tuple[str | None, bool | None]:
    """Return the commit and whether files differ from it; both None outside a checkout of this project.

    In a container there is no checkout: whoever starts it says which one its image was built from.
    """
    if not (checkout / ".git").exists():
        told = os.environ.get("HARNESS_COMMIT")
        return told, None if told is None else os.environ.get("HARNESS_DIRTY") == "1"
    answers = []
    for question in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        asked = ["git", "-C", str(checkout), *question]
        try:
            answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None, None
        answers.append(answer.stdout.strip())
    return answers[0], bool(answers[1])
