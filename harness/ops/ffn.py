"""The feed-forward block of an encoder layer, the importance of its neurons, and their removal.

Shapes: **N** tokens (every leading dimension), **D** hidden, **F** FFN width, **K** neurons kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.ops import checks, reference
from harness.ops.extension import implementation
from harness.ops.precision import lower, without_autocast
from harness.ops.slopes import refuse_double_backward


class _Ffn(NamedTuple):
    """The arguments of the block: x N×D, w_in F×D, b_in F, w_out D×F, b_out D."""

    x: Tensor
    w_in: Tensor
    b_in: Tensor | None
    w_out: Tensor
    b_out: Tensor | None


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

    Holds: after a backward pass ``importance`` has grown by |Σ_tokens h·∂L/∂h| of each neuron h (first-order
    Taylor, Molchanov et al. 2017), at no pass more than training takes. Under autocast it computes in
    autocast's dtype.

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
    lowered = [None if bias is None else lower(bias) for bias in (b_in, b_out)]
    block = _Ffn(lower(x), lower(w_in), lowered[0], lower(w_out), lowered[1])
    _check_block(block)
    if importance is not None:
        _check_importance(importance, block)
    block = block._replace(x=block.x.reshape(-1, x.shape[-1]))
    if implementation(x.device) == "compiled":
        y_ND: Tensor = _linear_gelu_linear(*block, importance)[0]
        return y_ND.reshape(*x.shape[:-1], w_out.shape[0])
    h_NF = reference.linear_gelu(block.x, block.w_in, block.b_in)
    if importance is not None:
        h_NF = reference.score_neurons(h_NF, importance)
    y_ND = nn.functional.linear(h_NF, block.w_out, block.b_out)
    return y_ND.reshape(*x.shape[:-1], w_out.shape[0])


def _check_block(block: _Ffn) -> None:
    op, x, width = "linear_gelu_linear", block.x, block.w_in.shape[0]
    checks.check_float(op, "x", x, max(x.dim(), 1))
    checks.check_float(op, "w_in", block.w_in, 2)
    checks.check_like(op, "w_in", block.w_in, (width, x.shape[-1]), x)
    checks.check_float(op, "w_out", block.w_out, 2)
    checks.check_like(op, "w_out", block.w_out, (block.w_out.shape[0], width), x)
    if block.b_in is not None:
        checks.check_like(op, "b_in", block.b_in, (width,), x)
    if block.b_out is not None:
        checks.check_like(op, "b_out", block.b_out, (block.w_out.shape[0],), x)


def _check_importance(importance: Tensor, block: _Ffn) -> None:
    op, x = "linear_gelu_linear", block.x
    wanted = torch.float64 if x.dtype == torch.float64 else torch.float32
    checks.check_exact(op, "importance", importance, wanted, (block.w_in.shape[0],))
    checks.check_device(op, "importance", importance, x)
    if importance.requires_grad:
        raise checks.fault(op, "importance", "a tensor without gradient", "requires_grad=True")
    if not importance.is_contiguous():
        raise checks.fault(op, "importance", "a contiguous tensor", f"strides {importance.stride()}")


@torch.library.custom_op("harness::linear_gelu_linear", mutates_args=())
def _linear_gelu_linear(  # noqa: PLR0917 — the schema of an op with autograd is positional
    x_ND: Tensor,
    w_in_FD: Tensor,
    b_in_F: Tensor | None,
    w_out_DF: Tensor,
    b_out_D: Tensor | None,
    importance_F: Tensor | None,  # noqa: ARG001 — for the backward pass
) -> tuple[Tensor, Tensor]:
    """Gives the output, and the pre-activation, which is all the backward pass keeps beside the arguments."""
    with without_autocast(x_ND):
        pre_NF = nn.functional.linear(x_ND, w_in_FD, b_in_F).contiguous()
        h_NF = torch.ops.harness.gelu(pre_NF)
        return nn.functional.linear(h_NF, w_out_DF, b_out_D), pre_NF


@_linear_gelu_linear.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor]:
    x_ND, w_in_FD, _, w_out_DF = inputs[:4]
    num_tokens = x_ND.shape[0]
    return x_ND.new_empty(num_tokens, w_out_DF.shape[0]), x_ND.new_empty(num_tokens, w_in_FD.shape[0])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x_ND, w_in_FD, _, w_out_DF, _, importance_F = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x_ND, w_in_FD, w_out_DF, output[1])
    ctx.importance_F = importance_F  # not saved_for_backward: other passes may add to it before this one's


def _backward(ctx: Any, grad_ND: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    refuse_double_backward("linear_gelu_linear")
    if grad_ND is None:
        return (None,) * 6
    x_ND, w_in_FD, w_out_DF, pre_NF = ctx.saved_tensors
    needs = ctx.needs_input_grad
    with without_autocast(grad_ND):
        slope_NF = (grad_ND @ w_out_DF).contiguous()
        h_NF, by_b_in_F = torch.ops.harness.gelu_backward_(slope_NF, pre_NF, ctx.importance_F)
        return (
            slope_NF @ w_in_FD if needs[0] else None,
            slope_NF.T @ x_ND if needs[1] else None,
            by_b_in_F.to(slope_NF.dtype) if needs[2] else None,
            grad_ND.T @ h_NF if needs[3] else None,
            grad_ND.sum(0) if needs[4] else None,
            None,
        )


_linear_gelu_linear.register_autograd(_backward, setup_context=_setup_context)


def prune_linear_pair(
    fc_in: nn.Linear, fc_out: nn.Linear, keep: Tensor, *, multiple_of: int = 64
) -> tuple[nn.Linear, nn.Linear]:
    """Gives the two layers of an FFN with the kept neurons alone, as new and smaller layers.

    Holds: their output is that of the whole layers whose other neurons' activations are set to zero; the
    layers given are not changed; dtype, device, bias and ``requires_grad`` are theirs.

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
    bias_in_K = fc_in.bias[keep_K] if fc_in.bias is not None else None
    return (
        _linear(fc_in, fc_in.weight[keep_K], bias_in_K),
        _linear(fc_out, fc_out.weight[:, keep_K], fc_out.bias),
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
    if len(set(keep.tolist())) != len(keep):
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
