"""Check what works on this machine, for ``harness doctor`` and for the manifests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from harness.cli.threads import choose_default, describe_threads
from harness.limits import Limits
from harness.measure.environment import describe
from harness.units import format_bytes


@dataclass(frozen=True)
class Check:
    """One thing that a user may need.

    Attributes:
        what: its name.
        state: what this machine has.
        advice: how to get it; empty where nothing is missing.
    """

    what: str
    state: str
    advice: str = ""


def run_checks() -> list[Check]:
    """Return every check, the most often needed first."""
    return [check() for check in (_compiler, _extension, _cpu, _threads, _memory, _gpu, _engine, _hub, _node)]


def _compiler() -> Check:
    from harness import ops  # noqa: PLC0415

    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is not None:
        return Check("C++ compiler", _read_first_line([compiler, "--version"]))
    if ops.implementation() == "compiled":
        return Check("C++ compiler", "none", "none is needed: the kernels are compiled")
    return Check("C++ compiler", "none", "install g++ (Debian: build-essential), then `make build`")


def _extension() -> Check:
    from harness import ops  # noqa: PLC0415

    if ops.implementation() == "compiled":
        return Check("kernels", "compiled")
    return Check("kernels", f"reference (pure PyTorch): {ops.explanation()}", "`make build` with a compiler")


def _cpu() -> Check:
    described = describe()
    return Check("processor", f"{described.get('cpu')}, {described.get('cores')} cores")


def _threads() -> Check:
    choice = choose_default()
    return Check("threads", describe_threads(choice), choice.warning)


def _memory() -> Check:
    from harness.ops.pool import explain_pool  # noqa: PLC0415

    used, reason = explain_pool()
    limit, free = Limits().read_memory_limit(), Limits().read_free_memory()
    sizes = [] if limit is None or free is None else [f"{format_bytes(limit)}, {format_bytes(free)} free"]
    state = "; ".join([*sizes, reason if used else f"no pool for trainings: {reason}"])
    return Check("memory", state, "" if used else "trainings need several times the memory without the pool")


def _gpu() -> Check:
    import torch  # noqa: PLC0415

    from harness import ops  # noqa: PLC0415

    if torch.cuda.is_available():
        slow = ops.implementation("cuda") == "reference"
        advice = "`HARNESS_CUDA=1 make build` with nvcc, for the kernels' CUDA half" if slow else ""
        return Check("GPU", str(torch.cuda.get_device_name()), advice)
    listed = _read_first_line(["nvidia-smi", "-L"])
    if not listed.startswith("GPU"):
        return Check("GPU", "none", "none is needed for the scales mini and small; paper needs one")
    build = "CPU" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
    return Check(
        "GPU",
        f"{listed.split(' (UUID')[0]}, which torch ({build} build) cannot use",
        "take a torch build for your driver: `rm -r .venv`, then `make build TORCH=torch==VERSION`",
    )


def _engine() -> Check:
    version = _read_first_line(
        [os.environ.get("DOCKER", "docker"), "version", "--format", "{{.Server.Version}}"]
    )
    if not version[:1].isdigit():
        return Check("container engine", "none answers", "none is needed; start Docker to run in containers")
    return Check("container engine", f"Docker {version}")


def _hub() -> Check:
    from huggingface_hub import HfApi  # noqa: PLC0415

    from harness.downloads import describe_fault  # noqa: PLC0415  only this check needs the hub's libraries

    if os.environ.get("HF_HUB_OFFLINE"):
        return Check("hub", "switched off by HF_HUB_OFFLINE", "only what is cached can be read")
    try:
        HfApi().model_info("google-bert/bert-base-multilingual-cased", timeout=5)
    except Exception as error:
        return Check(
            "hub", f"not reached: {describe_fault(error)}", "use --data and --teacher, or a scale without it"
        )
    return Check("hub", "reached")


def _node() -> Check:
    node = shutil.which("node")
    if node is None:
        return Check("node", "none", "none is needed; it lets the tests compare token ids with JavaScript")
    return Check("node", _read_first_line([node, "--version"]))


def _read_first_line(command: list[str]) -> str:
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    try:
        return run(command, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return command[0]
