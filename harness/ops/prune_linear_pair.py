"""Remove neurons from the two layers of an FFN.

Shapes: **D** hidden, **F** FFN width, **K** neurons kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.ops import checks

_OP = "prune_linear_pair"


def prune_linear_pair(
    fc_in: nn.Linear, fc_out: nn.Linear, keep: Tensor, *, multiple_of: int = 64
) -> tuple[nn.Linear, nn.Linear]:
    """Return the two layers of an FFN with the kept neurons only, as new and smaller layers.

    Invariants: their output equals that of the given layers with the other neurons' activations set to zero;
    the given layers are not changed; dtype, device, bias and ``requires_grad`` are those of the given layers.

    Args:
        fc_in: D → F.
        fc_out: F → D.
        keep: indices (int64, no index twice) or F booleans. The kept neurons are in the order of the indices.
        multiple_of: what the number of kept neurons must be a multiple of, for the products' speed; 1 allows
            any number.

    Raises:
        HarnessError: the layers do not fit each other, or the indices do not fit the layers.
    """
    for name, layer in (("fc_in", fc_in), ("fc_out", fc_out)):
        if not isinstance(layer, nn.Linear):
            raise checks.fault(_OP, name, "a torch.nn.Linear", type(layer).__name__)
    checks.check_whole_number(_OP, "multiple_of", multiple_of, 1)
    width = fc_in.out_features
    if fc_out.in_features != width:
        raise checks.fault(_OP, "fc_out", f"{width} inputs, as fc_in has outputs", fc_out.in_features)
    keep_K = _kept_indices(keep, width).to(fc_in.weight.device)
    if len(keep_K) % multiple_of:
        raise checks.fault(
            _OP, "keep", f"a multiple of {multiple_of} neurons, or multiple_of=1", f"{len(keep_K)} neurons"
        )
    bias_in_K = fc_in.bias[keep_K] if fc_in.bias is not None else None
    return (
        _copy_layer(fc_in, fc_in.weight[keep_K], bias_in_K),
        _copy_layer(fc_out, fc_out.weight[:, keep_K], fc_out.bias),
    )


def _kept_indices(keep: Tensor, width: int) -> Tensor:
    """Return the indices of the kept neurons, checked."""
    checks.check_tensor(_OP, "keep", keep)
    if keep.dtype == torch.bool:
        checks.check_exact(_OP, "keep", keep, torch.bool, (width,))
        keep = keep.nonzero().flatten()
    checks.check_exact(_OP, "keep", keep, torch.int64, (keep.numel(),))
    checks.check_indices(_OP, "keep", keep, width)
    if keep.numel() == 0:
        raise checks.fault(_OP, "keep", "one neuron or more", "none")
    if len(set(keep.tolist())) != len(keep):
        raise checks.fault(_OP, "keep", "every neuron at most once", "a neuron twice")
    return keep


def _copy_layer(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a layer like ``layer`` with its own copy of these parameters."""
    with torch.no_grad():
        new = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        new.weight = nn.Parameter(weight.detach().clone().contiguous(), layer.weight.requires_grad)
        if bias is not None:
            new.bias = nn.Parameter(bias.detach().clone(), layer.bias.requires_grad)
    return new.train(layer.training)
