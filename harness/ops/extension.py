"""Choose which implementation runs: the compiled kernels in this folder, or the reference in pure PyTorch.

``HARNESS_OPS=reference`` forces the reference, ``compiled`` makes an absent extension an error, ``auto`` (the
default) uses the compiled kernels where they load. The choice is made once, at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from harness.errors import HarnessError, unknown

Implementation = Literal["compiled", "reference"]

SCHEMA_VERSION = 3
"""Equals ``schema_version`` in csrc/common/library.cpp; raised when an existing schema changes."""

_CHOICES = ("auto", "compiled", "reference")


def _library(name: str) -> Path | None:
    return next(iter(sorted(Path(__file__).parent.glob(f"{name}.*so"))), None)


def _load(path: Path | None) -> str:
    """Load one library; return the reason if it does not load, else an empty text."""
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
                f"ops: expected kernels of schema {SCHEMA_VERSION}; got {version}; build the extension again"
            )
        return "compiled", "the compiled extension is loaded"
    if choice == "compiled":
        raise HarnessError(f"ops: HARNESS_OPS=compiled: expected the extension; got none: {reason}")
    return "reference", reason


_IMPLEMENTATION, _REASON = _choose()
_CUDA_REASON = _load(_library("_kernels_cuda")) if _IMPLEMENTATION == "compiled" else _REASON


def implementation(device: str | torch.device = "cpu") -> Implementation:
    """Return which implementation runs on a device; constant during a process.

    Args:
        device: where the tensors are. Kernels exist for ``cpu`` and, where they were built, ``cuda``.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return _IMPLEMENTATION
    return "compiled" if kind == "cuda" and not _CUDA_REASON else "reference"


def explanation() -> str:
    """Return why that implementation runs, in one line, for ``harness doctor``."""
    return _REASON


def register_kernel(
    name: str,
    fake: Callable[..., Any],
    *,
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., Any] | None = None,
) -> None:
    """Register a compiled kernel's fake kernel and autograd; do nothing where the reference runs.

    Args:
        name: the op in csrc/<op>/schema.cpp.
        fake: the kernel's outputs as shapes and dtypes, for ``torch.compile``.
        backward: its gradient formula, if it has one.
        setup_context: what the gradient formula saves.

    Raises:
        HarnessError: the extension lacks the kernel, since it was built before the kernel existed.
    """
    if _IMPLEMENTATION != "compiled":
        return
    if not hasattr(torch.ops.harness, name):
        raise HarnessError(f"ops: expected a kernel '{name}'; got none; build the extension again")
    torch.library.register_fake(f"harness::{name}", fake)
    if backward is not None:
        torch.library.register_autograd(f"harness::{name}", backward, setup_context=setup_context)
