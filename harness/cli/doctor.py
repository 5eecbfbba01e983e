"""What works on this machine: told by ``harness doctor``, and recorded in every manifest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from harness.measure.environment import describe
from harness.pipeline.manifest import Environment


@dataclass(frozen=True)
class Check:
    """One thing a user may need.

    Attributes:
        what: its name.
        found: what is there.
        advice: what to do to have it; empty where nothing is amiss.
    """

    what: str
    found: str
    advice: str = ""


def environment() -> Environment:
    """Gives what a manifest says of the machine and the code; loads torch."""
    import torch  # noqa: PLC0415  a run in which all is done loads neither

    from harness import ops  # noqa: PLC0415

    told = describe()
    versions = told.get("versions")
    commit, dirty = told.get("commit"), told.get("dirty")
    return Environment(
        commit=commit if isinstance(commit, str) else None,
        dirty=dirty if isinstance(dirty, bool) else None,
        versions={name: str(one) for name, one in versions.items() if one}
        if isinstance(versions, dict)
        else {},
        device="cuda" if torch.cuda.is_available() else "cpu",
        threads=torch.get_num_threads(),
        ops=ops.implementation(),
    )


def examine() -> list[Check]:
    """Gives every check, in the order of how soon its lack is felt."""
    return [check() for check in (_compiler, _extension, _cpu, _gpu, _engine, _hub, _node)]


def _compiler() -> Check:
    from harness import ops  # noqa: PLC0415

    found = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if found is not None:
        return Check("C++ compiler", _first_line([found, "--version"]))
    if ops.implementation() == "compiled":
        return Check("C++ compiler", "none", "none is needed: the kernels are compiled")
    return Check("C++ compiler", "none", "install g++ (Debian: build-essential), then `make build`")


def _extension() -> Check:
    from harness import ops  # noqa: PLC0415

    if ops.implementation() == "compiled":
        return Check("kernels", "compiled")
    return Check(
        "kernels", f"reference (pure PyTorch): {ops.explanation()}", "`make build` where a compiler is"
    )


def _cpu() -> Check:
    told = describe()
    return Check("processor", f"{told.get('cpu')}, {told.get('cores')} cores")


def _gpu() -> Check:
    import torch  # noqa: PLC0415

    from harness import ops  # noqa: PLC0415

    if torch.cuda.is_available():
        slow = ops.implementation("cuda") == "reference"
        advice = "`HARNESS_CUDA=1 make build` where nvcc is, for the kernels' CUDA half" if slow else ""
        return Check("GPU", str(torch.cuda.get_device_name()), advice)
    listed = _first_line(["nvidia-smi", "-L"])
    if not listed.startswith("GPU"):
        return Check("GPU", "none", "none is needed for the scales mini and small; paper wants one")
    build = "CPU" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
    return Check(
        "GPU",
        f"{listed.split(' (UUID')[0]}, which torch ({build} build) cannot use",
        "take a torch build for your driver: `rm -r .venv`, then `make build TORCH=torch==VERSION`",
    )


def _engine() -> Check:
    import docker  # noqa: PLC0415

    try:
        client = docker.from_env(timeout=3)
        version = client.version()["Version"]
    except docker.errors.DockerException:
        return Check("container engine", "none answers", "none is needed; start Docker to run in containers")
    return Check("container engine", f"Docker {version}")


def _hub() -> Check:
    from huggingface_hub import HfApi  # noqa: PLC0415

    if os.environ.get("HF_HUB_OFFLINE"):
        return Check("hub", "switched off by HF_HUB_OFFLINE", "only what is cached can be read")
    try:
        HfApi().model_info("google-bert/bert-base-multilingual-cased", timeout=5)
    except Exception as error:
        return Check(
            "hub", f"not reached ({type(error).__name__})", "use --data and --teacher, or a scale without it"
        )
    return Check("hub", "reached")


def _node() -> Check:
    found = shutil.which("node")
    if found is None:
        return Check("node", "none", "none is needed; it lets the tests compare token ids with JavaScript")
    return Check("node", _first_line([found, "--version"]))


def _first_line(command: list[str]) -> str:
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    try:
        return run(command, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return command[0]
