"""Autograd for ops that compute their gradients in the forward pass; the refusal of a second derivative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError


def refuse_double_backward(op: str) -> None:
    """Check that this backward pass will not be differentiated itself.

    Raises:
        HarnessError: it runs under ``create_graph=True``.
    """
    if torch.is_grad_enabled():
        raise HarnessError(
            f"{op}: backward: expected create_graph=False; got True; the op has no second derivative"
        )


def _is_read_again(tensor: Tensor) -> bool:
    """Whether the tensor may be needed after this backward pass: its graph is kept, or it is a subclass."""
    return type(tensor) is not Tensor or torch._C._autograd._get_current_graph_task_keep_graph()


def scale_gradient(gradient: Tensor, factor: Tensor) -> Tensor:
    """Return the gradient times the incoming gradient of a scalar loss; in place if it is not read again."""
    factor = factor.to(gradient.dtype)
    if _is_read_again(gradient):
        return gradient * factor
    if gradient.device.type == "cpu" and float(factor) == 1.0:  # reading a value would wait for a GPU
        return gradient
    return gradient.mul_(factor)


def register_forward_gradients(op: Any, name: str, gradients: Mapping[int, int]) -> None:
    """Register autograd for an op whose first output is a scalar loss and whose others are its gradients.

    Args:
        op: the custom op.
        name: what messages call the op.
        gradients: place of an input → place of the output that is the loss's gradient by that input; the
            output is empty if the gradient is not needed.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.num_inputs = len(inputs)
        ctx.save_for_backward(*(output[place] for place in gradients.values()))

    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_double_backward(name)
        results: list[Tensor | None] = [None] * ctx.num_inputs
        for place, gradient in zip(gradients, ctx.saved_tensors, strict=True):
            if ctx.needs_input_grad[place] and grad is not None:
                results[place] = scale_gradient(gradient, grad)
        return tuple(results)

    op.register_autograd(backward, setup_context=setup_context)
