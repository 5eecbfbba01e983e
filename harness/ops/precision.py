"""What dtype an op computes in under ``torch.autocast``: custom ops are not on autocast's own lists."""

from __future__ import annotations

import torch
from torch import Tensor


def lower(tensor: Tensor) -> Tensor:
    """Gives the tensor in autocast's dtype where autocast is on, as ``F.linear`` would take it."""
    kind = tensor.device.type
    if not torch.is_autocast_enabled(kind) or not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.get_autocast_dtype(kind))


def lift(tensor: Tensor) -> Tensor:
    """Gives a low-precision tensor in float32 where autocast is on, as losses are taken."""
    low = tensor.dtype in (torch.bfloat16, torch.float16)
    return tensor.float() if low and torch.is_autocast_enabled(tensor.device.type) else tensor


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Gives the context in which an op computes in the dtypes it was given."""
    return torch.autocast(tensor.device.type, enabled=False)
