"""The dtype that an op computes in under ``torch.autocast``, whose own lists of ops hold no custom op."""

from __future__ import annotations

import torch
from torch import Tensor


def to_autocast_dtype(tensor: Tensor) -> Tensor:
    """Return the tensor in autocast's dtype if autocast is on, as ``F.linear`` converts it."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def to_loss_dtype(tensor: Tensor) -> Tensor:
    """Return a low-precision tensor in float32 if autocast is on, as autocast computes losses."""
    low = tensor.dtype in (torch.bfloat16, torch.float16)
    return tensor.float() if low and torch.is_autocast_enabled(tensor.device.type) else tensor


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Return a context in which an op computes in the dtypes of its arguments."""
    return torch.autocast(tensor.device.type, enabled=False)
