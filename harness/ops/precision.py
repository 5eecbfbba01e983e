"""What dtype an op computes in under ``torch.autocast``: custom ops are not on autocast's own lists."""

from __future__ import annotations

import torch
from torch import Tensor


def _autocasts(tensor: Tensor) -> bool:
    return torch.is_autocast_enabled(tensor.device.type)


def lower(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gives the tensors in autocast's dtype where autocast is on, as ``F.linear`` would take them."""
    first = tensors[0]
    if not isinstance(first, Tensor) or not _autocasts(first):
        return tensors
    dtype = torch.get_autocast_dtype(first.device.type)
    return tuple(
        one.to(dtype) if isinstance(one, Tensor) and one.is_floating_point() else one for one in tensors
    )


def raise_to_float(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gives the tensors in float32 where autocast is on, as losses are taken."""
    first = tensors[0]
    if not isinstance(first, Tensor) or not _autocasts(first):
        return tensors
    return tuple(
        one.float() if isinstance(one, Tensor) and one.dtype in (torch.bfloat16, torch.float16) else one
        for one in tensors
    )
