"""The feed-forward block of an encoder layer, the importance of its neurons, and their removal.

Shapes: **N** tokens (every leading dimension), **D** hidden, **F** FFN width, **K** neurons kept.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.ops import checks, reference
from harness.ops.precision import lower


class _Score(torch.autograd.Function):
    """Gives its input; its backward pass adds the neurons' scores to ``importance``."""

    @staticmethod
    def forward(ctx: Any, h_NF: Tensor, importance_F: Tensor) -> Tensor:
        ctx.save_for_backward(h_NF, importance_F)
        return h_NF.view_as(h_NF)

    @staticmethod
    def backward(ctx: Any, grad_NF: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        h_NF, importance_F = ctx.saved_tensors
        importance_F.add_(reference.taylor_score(h_NF, grad_NF))
        return grad_NF, None


def linear_gelu_linear(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor | None,
    w_out: Tensor,
    b_out: Tensor | None,
    *,
    importance: Tensor | None = None,
) -> Tensor:
    """Gives ``gelu(x @ w_in.T + b_in) @ w_out.T + b_out``, with the erf GELU of BERT and XLM-R.

    Holds: after a backward pass ``importance`` has grown by |Σ_tokens h·∂L/∂h| of each neuron h (first-order Taylor,
    Molchanov et al. 2017), at no pass more than training takes. Under autocast it computes in autocast's dtype.

    Args:
        x: any leading dimensions × D.
        w_in: F×D.
        b_in: F, or ``None``.
        w_out: D×F.
        b_out: D, or ``None``.
        importance: F numbers (float32, or float64 for float64), added to in the backward pass.

    Raises:
        HarnessError: an argument does not fit; names it.
    """
    op = "linear_gelu_linear"
    x, w_in, b_in, w_out, b_out = cast(
        tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None], lower(x, w_in, b_in, w_out, b_out)
    )
    _check_ffn(op, x, w_in, b_in, w_out, b_out)
    if importance is not None:
        _check_importance(op, importance, x, w_in.shape[0])
    x_ND = x.reshape(-1, x.shape[-1])
    h_NF = reference.linear_gelu(x_ND, w_in, b_in)
    if importance is not None:
        h_NF = cast(Tensor, _Score.apply(h_NF, importance))  # type: ignore[no-untyped-call]
    return nn.functional.linear(h_NF, w_out, b_out).reshape(*x.shape[:-1], -1)


def _check_ffn(
    op: str, x: Tensor, w_in: Tensor, b_in: Tensor | None, w_out: Tensor, b_out: Tensor | None
) -> None:
    checks.check_float(op, "x", x, max(x.dim(), 1))
    checks.check_float(op, "w_in", w_in, 2)
    width = w_in.shape[0]
    checks.check_like(op, "w_in", w_in, (width, x.shape[-1]), x)
    checks.check_float(op, "w_out", w_out, 2)
    checks.check_like(op, "w_out", w_out, (w_out.shape[0], width), x)
    if b_in is not None:
        checks.check_like(op, "b_in", b_in, (width,), x)
    if b_out is not None:
        checks.check_like(op, "b_out", b_out, (w_out.shape[0],), x)


def _check_importance(op: str, importance: Tensor, x: Tensor, width: int) -> None:
    wanted = torch.float64 if x.dtype == torch.float64 else torch.float32
    checks.check_exact(op, "importance", importance, wanted, (width,))
    checks.check_device(op, "importance", importance, x)
    if importance.requires_grad:
        raise checks.fault(op, "importance", "a tensor without gradient", "requires_grad=True")
    if not importance.is_contiguous():
        raise checks.fault(op, "importance", "a contiguous tensor", f"strides {importance.stride()}")


def prune_linear_pair(
    fc_in: nn.Linear, fc_out: nn.Linear, keep: Tensor, *, multiple_of: int = 64
) -> tuple[nn.Linear, nn.Linear]:
    """Gives the two layers of an FFN with the kept neurons alone, as new and smaller layers.

    Holds: their output is that of the whole layers whose other neurons' activations are set to zero; the layers
    given are not changed; dtype, device, bias and ``requires_grad`` are theirs.

    Args:
        fc_in: D → F.
        fc_out: F → D.
        keep: indices (int64, none twice) or F booleans. Kept neurons stand in the order of the indices.
        multiple_of: what their number must be a multiple of, for the products' sake; 1 takes any number.

    Raises:
        HarnessError: the layers do not fit each other, or the indices do not fit the layers.
    """
    op = "prune_linear_pair"
    width = fc_in.out_features
    if fc_out.in_features != width:
        raise checks.fault(op, "fc_out", f"{width} inputs, as fc_in has outputs", fc_out.in_features)
    keep_K = _check_keep(op, keep, width).to(fc_in.weight.device)
    if multiple_of < 1 or len(keep_K) % multiple_of:
        raise checks.fault(
            op, "keep", f"a multiple of {multiple_of} neurons, or multiple_of=1", f"{len(keep_K)} neurons"
        )
    bias_out_D = fc_out.bias if fc_out.bias is not None else None
    bias_in_K = fc_in.bias[keep_K] if fc_in.bias is not None else None
    return (
        _linear(fc_in, fc_in.weight[keep_K], bias_in_K),
        _linear(fc_out, fc_out.weight[:, keep_K], bias_out_D),
    )


def _check_keep(op: str, keep: Tensor, width: int) -> Tensor:
    """Gives the indices of the kept neurons."""
    if keep.dtype == torch.bool:
        checks.check_exact(op, "keep", keep, torch.bool, (width,))
        keep = keep.nonzero().flatten()
    checks.check_exact(op, "keep", keep, torch.int64, (keep.numel(),))
    checks.check_indices(op, "keep", keep, width)
    if keep.numel() == 0:
        raise checks.fault(op, "keep", "one neuron or more", "none")
    if len(keep.unique()) != len(keep):
        raise checks.fault(op, "keep", "every neuron at most once", "a neuron twice")
    return keep


def _linear(old: nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Gives a layer like the old one with its own copy of these parameters."""
    with torch.no_grad():
        new = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        new.weight = nn.Parameter(weight.detach().clone().contiguous(), old.weight.requires_grad)
        if bias is not None:
            new.bias = nn.Parameter(bias.detach().clone(), old.bias.requires_grad)
    return new.train(old.training)
