"""Checks of the ops' arguments. An error names the op, the argument, what is expected and what came."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.errors import HarnessError

_FLOATS = {
    "cpu": (torch.float32, torch.bfloat16, torch.float64),
    "cuda": (torch.float32, torch.bfloat16, torch.float16, torch.float64),
}


def fault(op: str, argument: str, expected: str, got: object) -> HarnessError:
    """Return the error that every check raises."""
    return HarnessError(f"{op}: {argument}: expected {expected}; got {got}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "no dimensions"


def check_float(op: str, argument: str, tensor: Tensor, dimensions: int) -> None:
    """Check for a strided float tensor with that many dimensions, on a device that has kernels."""
    if not isinstance(tensor, Tensor):
        raise fault(op, argument, "a tensor", type(tensor).__name__)
    if tensor.layout != torch.strided:
        raise fault(op, argument, "a strided tensor", f"layout {str(tensor.layout).removeprefix('torch.')}")
    floats = _FLOATS.get(tensor.device.type)
    if floats is None:
        raise fault(op, argument, f"a tensor on {' or '.join(_FLOATS)}", tensor.device)
    if tensor.dtype not in floats:
        raise fault(op, argument, " or ".join(map(_name, floats)), _name(tensor.dtype))
    if tensor.dim() != dimensions:
        raise fault(op, argument, f"{dimensions} dimensions", _shape(tensor))


def check_like(op: str, argument: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """Check for a float tensor of that shape with the dtype and device of ``like``."""
    check_float(op, argument, tensor, len(shape))
    if tuple(tensor.shape) != shape:
        raise fault(op, argument, "×".join(map(str, shape)), _shape(tensor))
    if tensor.dtype != like.dtype:
        raise fault(op, argument, _name(like.dtype), _name(tensor.dtype))
    check_device(op, argument, tensor, like)


def check_exact(op: str, argument: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Check for a tensor of exactly that dtype and shape, as labels and masks are."""
    if not isinstance(tensor, Tensor):
        raise fault(op, argument, "a tensor", type(tensor).__name__)
    if tensor.dtype != dtype:
        raise fault(op, argument, _name(dtype), _name(tensor.dtype))
    if tuple(tensor.shape) != shape:
        raise fault(op, argument, "×".join(map(str, shape)) or "no dimensions", _shape(tensor))


def check_device(op: str, argument: str, tensor: Tensor, like: Tensor) -> None:
    """Check that the tensor is on the device of ``like``."""
    if tensor.device != like.device:
        raise fault(op, argument, f"device {like.device}", tensor.device)


def check_mask(op: str, argument: str, mask: Tensor | None, shape: tuple[int, ...], like: Tensor) -> None:
    """Check for a boolean tensor of that shape on the device of ``like``, or for none."""
    if mask is not None:
        check_exact(op, argument, mask, torch.bool, shape)
        check_device(op, argument, mask, like)


def check_labels(op: str, target_N: Tensor, like_N: Tensor, vocabulary: int, ignore_index: int) -> None:
    """Check for a label of the vocabulary, or ``ignore_index``, for each row of ``like_N``."""
    check_exact(op, "target", target_N, torch.int64, (like_N.shape[0],))
    check_device(op, "target", target_N, like_N)
    check_indices(op, "target", target_N, vocabulary, ignore_index)


def check_positive(op: str, argument: str, value: float) -> None:
    """Check for a finite number greater than zero."""
    if not isinstance(value, int | float) or not (value > 0 and math.isfinite(value)):
        raise fault(op, argument, "a finite number greater than 0", value)


def check_weight(op: str, argument: str, value: float) -> None:
    """Check for a finite number of zero or more."""
    if not isinstance(value, int | float) or not (value >= 0 and math.isfinite(value)):
        raise fault(op, argument, "a finite number of 0 or more", value)


def check_choice(op: str, argument: str, value: str, known: tuple[str, ...]) -> None:
    """Check that the value is one of those known."""
    if value not in known:
        raise fault(op, argument, " or ".join(f"'{choice}'" for choice in known), f"'{value}'")


def check_indices(op: str, argument: str, index: Tensor, size: int, ignored: int | None = None) -> None:
    """Check that every index is in ``[0, size)`` or equals ``ignored``.

    Reads values, so a GPU is waited for; skipped while ``torch.compile`` traces, where the kernels check.
    """
    if torch.compiler.is_compiling() or index.numel() == 0:
        return
    wrong = (index < 0) | (index >= size)
    if ignored is not None:
        wrong &= index != ignored
    if bool(wrong.any()):
        also = "" if ignored is None else f" or {ignored}"
        raise fault(op, argument, f"indices from 0 to {size - 1}{also}", int(index[wrong][0]))
