"""Checks of the ops' arguments. An error names the op, the argument, what is expected and what came."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.errors import HarnessError

_FLOATS = {
    "cpu": (torch.float32, torch.bfloat16, torch.float64),
    "cuda": (torch.float32, torch.bfloat16, torch.float16, torch.float64),
}


_LARGEST = 2**63 - 1


def fault(op: str, argument: str, expected: str, got: object) -> HarnessError:
    """Return the error that every check raises."""
    return HarnessError(f"{op}: {argument}: expected {expected}; got {_describe(got)}")


def _describe(got: object) -> str:
    """Return a value as one short line."""
    if isinstance(got, int) and abs(got) > _LARGEST:
        return "a number of more than 64 bits"
    lines = str(got).splitlines() or [""]
    return lines[0] if len(lines) == 1 and len(lines[0]) <= 80 else f"{lines[0][:80]}…"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "no dimensions"


def check_tensor(op: str, argument: str, tensor: object) -> None:
    """Check for a strided tensor on a device that has kernels, or the reference."""
    if not isinstance(tensor, Tensor):
        raise fault(op, argument, "a tensor", type(tensor).__name__)
    if tensor.is_nested:
        raise fault(op, argument, "a strided tensor", "a nested tensor")
    if tensor.layout != torch.strided:
        raise fault(op, argument, "a strided tensor", f"layout {str(tensor.layout).removeprefix('torch.')}")
    if tensor.device.type not in _FLOATS:
        raise fault(op, argument, f"a tensor on {' or '.join(_FLOATS)}", tensor.device)


def check_float(op: str, argument: str, tensor: Tensor, dimensions: int) -> None:
    """Check for a strided float tensor with that many dimensions, on a device that has kernels."""
    check_tensor(op, argument, tensor)
    floats = _FLOATS[tensor.device.type]
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
    check_tensor(op, argument, tensor)
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
    check_whole_number(op, "ignore_index", ignore_index, -_LARGEST - 1)
    check_exact(op, "target", target_N, torch.int64, (like_N.shape[0],))
    check_device(op, "target", target_N, like_N)
    check_indices(op, "target", target_N, vocabulary, ignore_index)


def check_number(op: str, argument: str, value: float, least: float, most: float = 1e18) -> None:
    """Check for a number in ``[least, most]``, which a float32 and its square can represent."""
    expected = f"a number from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fault(op, argument, expected, type(value).__name__)
    if not least <= value <= most:
        raise fault(op, argument, expected, value)


def check_whole_number(op: str, argument: str, value: int, least: int) -> None:
    """Check for a whole number of ``least`` or more that fits into 64 bits."""
    expected = f"a whole number from {least}" if least >= 0 else "a whole number of 64 bits"
    if isinstance(value, bool) or not isinstance(value, int):
        raise fault(op, argument, expected, type(value).__name__)
    if not least <= value <= _LARGEST:
        raise fault(op, argument, expected, value)


def check_flag(op: str, argument: str, value: bool) -> None:
    """Check for True or False."""
    if not isinstance(value, bool):
        raise fault(op, argument, "True or False", type(value).__name__)


def check_choice(op: str, argument: str, value: str, known: tuple[str, ...]) -> None:
    """Check that the value is one of those known."""
    if not isinstance(value, str) or value not in known:
        got = f"'{value}'" if isinstance(value, str) else type(value).__name__
        raise fault(op, argument, " or ".join(f"'{choice}'" for choice in known), got)


def check_width(op: str, argument: str, tensor: Tensor) -> None:
    """Check that the last dimension of a tensor is not empty."""
    if tensor.shape[-1] == 0:
        raise fault(op, argument, "a width of 1 or more", "0")


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
