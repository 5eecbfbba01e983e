"""The feed-forward block of an encoder layer, and the importance of its neurons.

Shapes: **N** tokens (every leading dimension), **D** hidden, **F** FFN width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.ops import checks, reference
from harness.ops.autograd import refuse_double_backward
from harness.ops.extension import implementation, register_kernel
from harness.ops.precision import to_autocast_dtype, without_autocast

_OP = "linear_gelu_linear"
_FEW_ACTIVATIONS = 1 << 18  # up to here the reference is faster: docs/kernels.md, "Small shapes"


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
    """Return ``gelu(x @ w_in.T + b_in) @ w_out.T + b_out``, with the erf GELU of BERT and XLM-R.

    Invariants: a backward pass adds |Σ_tokens h·∂L/∂h| of each neuron h to ``importance`` (first-order
    Taylor, Molchanov et al. 2017), with no pass more than training takes. Under autocast it computes in
    autocast's dtype.

    Args:
        x: any leading dimensions × D.
        w_in: F×D.
        b_in: F, or ``None``.
        w_out: D×F.
        b_out: D, or ``None``.
        importance: F numbers (float32, or float64 for float64), added to in the backward pass.

    Raises:
        HarnessError: an argument does not fit; names the argument.
    """
    named = {"x": x, "w_in": w_in, "b_in": b_in, "w_out": w_out, "b_out": b_out}
    for name, tensor in named.items():
        if tensor is not None or not name.startswith("b_"):
            checks.check_tensor(_OP, name, tensor)
    biases = [None if bias is None else to_autocast_dtype(bias) for bias in (b_in, b_out)]
    block = _Ffn(
        to_autocast_dtype(x), to_autocast_dtype(w_in), biases[0], to_autocast_dtype(w_out), biases[1]
    )
    _check_block(block)
    if importance is not None:
        _check_importance(importance, block)
    block = block._replace(x=block.x.reshape(-1, x.shape[-1]))
    if implementation(x.device) == "compiled" and block.x.shape[0] * w_in.shape[0] > _FEW_ACTIVATIONS:
        y_ND: Tensor = _linear_gelu_linear(*block, importance)[0]
        return y_ND.reshape(*x.shape[:-1], w_out.shape[0])
    h_NF = reference.linear_gelu(block.x, block.w_in, block.b_in)
    if importance is not None:
        h_NF = reference.score_neurons(h_NF, importance)
    y_ND = nn.functional.linear(h_NF, block.w_out, block.b_out)
    return y_ND.reshape(*x.shape[:-1], w_out.shape[0])


def _check_block(block: _Ffn) -> None:
    x = block.x
    checks.check_float(_OP, "x", x, max(x.dim(), 1))
    checks.check_width(_OP, "x", x)
    checks.check_float(_OP, "w_in", block.w_in, 2)
    width = block.w_in.shape[0]
    if width == 0:
        raise checks.fault(_OP, "w_in", "one neuron or more", "none")
    checks.check_like(_OP, "w_in", block.w_in, (width, x.shape[-1]), x)
    checks.check_float(_OP, "w_out", block.w_out, 2)
    if block.w_out.shape[0] == 0:
        raise checks.fault(_OP, "w_out", "one output or more", "none")
    checks.check_like(_OP, "w_out", block.w_out, (block.w_out.shape[0], width), x)
    if block.b_in is not None:
        checks.check_like(_OP, "b_in", block.b_in, (width,), x)
    if block.b_out is not None:
        checks.check_like(_OP, "b_out", block.b_out, (block.w_out.shape[0],), x)


def _check_importance(importance: Tensor, block: _Ffn) -> None:
    checks.check_exact(_OP, "importance", importance, reference.sum_dtype(block.x), (block.w_in.shape[0],))
    checks.check_device(_OP, "importance", importance, block.x)
    if importance.requires_grad:
        raise checks.fault(_OP, "importance", "a tensor without gradient", "requires_grad=True")
    if not importance.is_contiguous():
        raise checks.fault(_OP, "importance", "a contiguous tensor", f"strides {importance.stride()}")


@torch.library.custom_op("harness::linear_gelu_linear", mutates_args=())
def _linear_gelu_linear(  # noqa: PLR0917 — the schema of an op with autograd is positional
    x_ND: Tensor,
    w_in_FD: Tensor,
    b_in_F: Tensor | None,
    w_out_DF: Tensor,
    b_out_D: Tensor | None,
    importance_F: Tensor | None,  # noqa: ARG001 — for the backward pass
) -> tuple[Tensor, Tensor]:
    """Return the output, and the pre-activations, which the backward pass keeps besides the arguments."""
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
    ctx.importance_F = (
        importance_F  # not saved_for_backward: other passes may add to it before this pass does
    )


def _backward(ctx: Any, grad_ND: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    refuse_double_backward(_OP)
    if grad_ND is None:
        return (None,) * 6
    x_ND, w_in_FD, w_out_DF, pre_NF = ctx.saved_tensors
    needs = ctx.needs_input_grad
    with without_autocast(grad_ND):
        grad_NF = (grad_ND @ w_out_DF).contiguous()
        h_NF, grad_b_in_F = torch.ops.harness.gelu_backward_(grad_NF, pre_NF, ctx.importance_F)
        return (
            grad_NF @ w_in_FD if needs[0] else None,
            grad_NF.T @ x_ND if needs[1] else None,
            grad_b_in_F.to(grad_NF.dtype) if needs[2] else None,
            grad_ND.T @ h_NF if needs[3] else None,
            grad_ND.sum(0) if needs[4] else None,
            None,
        )


_linear_gelu_linear.register_autograd(_backward, setup_context=_setup_context)


def _gelu_backward_fake(grad_NF: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return grad_NF.new_empty(grad_NF.shape), grad_NF.new_empty(
        grad_NF.shape[1], dtype=reference.sum_dtype(grad_NF)
    )


register_kernel("gelu", lambda pre_NF: pre_NF.new_empty(pre_NF.shape))
register_kernel("gelu_backward_", _gelu_backward_fake)
