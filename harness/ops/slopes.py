"""Autograd for ops that compute their gradients in the forward pass; the refusal of a second derivative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError


def refuse_double_backward(op: str) -> None:
    """Holds after it: this backward pass will not itself be differentiated.

    Raises:
        HarnessError: it runs under ``create_graph=True``.
    """
    if torch.is_grad_enabled():
        raise HarnessError(
            f"{op}: backward: wanted create_graph=False; got True; the op has no second derivative"
        )


def _ours_alone(tensor: Tensor) -> bool:
    """Whether nobody will ask for the tensor again: a plain one, in a backward pass that frees its graph."""
    return type(tensor) is Tensor and not torch._C._autograd._get_current_graph_task_keep_graph()


def scale(slope: Tensor, grad: Tensor) -> Tensor:
    """Gives a gradient that was computed for a slope of one, for this slope; in place where nobody minds."""
    grad = grad.to(slope.dtype)
    if not _ours_alone(slope):
        return slope * grad
    if slope.device.type == "cpu" and float(grad) == 1.0:  # on a GPU this question would wait
        return slope
    return slope.mul_(grad)


def register_slopes(op: Any, name: str, slopes: Mapping[int, int]) -> None:
    """Registers autograd for an op whose first output is a scalar loss.

    Args:
        op: the custom op.
        name: what a message calls it.
        slopes: input → the output that is the loss's gradient by that input, empty if not needed.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.num_inputs = len(inputs)
        ctx.save_for_backward(*(output[place] for place in slopes.values()))

    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_double_backward(name)
        grads: list[Tensor | None] = [None] * ctx.num_inputs
        for place, slope in zip(slopes, ctx.saved_tensors, strict=True):
            if ctx.needs_input_grad[place] and grad is not None:
                grads[place] = scale(slope, grad)
        return tuple(grads)

    op.register_autograd(backward, setup_context=setup_context)
