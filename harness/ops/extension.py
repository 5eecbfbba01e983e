"""Which implementation runs: the compiled kernels beside this file, or the reference in pure PyTorch.

``HARNESS_OPS=reference`` forces the reference, ``compiled`` makes an absent extension an error, ``auto`` (the
default) takes the compiled kernels where they load. The choice is made once, at import.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Literal

import torch

from harness.errors import HarnessError, unknown

Implementation = Literal["compiled", "reference"]

SCHEMA_VERSION = 3
"""Of csrc/registration.cpp; a library of another version is refused, not misread."""

_CHOICES = ("auto", "compiled", "reference")


def _library(name: str) -> Path | None:
    return next(iter(sorted(Path(__file__).parent.glob(f"{name}.*so"))), None)


def _load(path: Path | None) -> str:
    """Loads one library; gives what stood in the way, or nothing."""
    if path is None:
        return "no compiled extension is installed; `pip install --no-build-isolation -e .` builds it"
    try:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError as error:
        return f"{path.name} does not load: {str(error).splitlines()[0]}"
    return ""


def _choose() -> tuple[Implementation, str]:
    choice = os.environ.get("HARNESS_OPS", "auto")
    if choice not in _CHOICES:
        raise unknown("value of HARNESS_OPS", choice, _CHOICES)
    if choice == "reference":
        return "reference", "HARNESS_OPS=reference"
    reason = _load(_library("_kernels"))
    if not reason:
        version = torch.ops.harness.schema_version()
        if version != SCHEMA_VERSION:
            raise HarnessError(
                f"ops: wanted kernels of schema {SCHEMA_VERSION}; got {version}; build the extension again"
            )
        return "compiled", "the compiled extension is loaded"
    if choice == "compiled":
        raise HarnessError(f"ops: HARNESS_OPS=compiled wanted the extension; got none: {reason}")
    return "reference", reason


_IMPLEMENTATION, _REASON = _choose()
_CUDA_REASON = _load(_library("_kernels_cuda")) if _IMPLEMENTATION == "compiled" else _REASON

if _IMPLEMENTATION == "compiled":
    importlib.import_module("harness.ops.registration")


def implementation(device: str | torch.device = "cpu") -> Implementation:
    """Gives which implementation runs on a device; constant during a process.

    Args:
        device: where the tensors lie. Kernels exist for ``cpu`` and, where they were built, ``cuda``.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return _IMPLEMENTATION
    return "compiled" if kind == "cuda" and not _CUDA_REASON else "reference"


def explanation() -> str:
    """Gives why that implementation runs, in one line, for ``harness doctor``."""
    return _REASON
