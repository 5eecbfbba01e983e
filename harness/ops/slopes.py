"""Autograd for ops that compute their gradients in the forward pass, and the refusal of a second derivative."""

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
            f"{op}: backward: wanted create_graph=False, a first derivative; got create_graph=True; "
            "HARNESS_OPS=reference has second derivatives of most ops"
        )


def register_slopes(op: Any, name: str, slopes: Mapping[int, int]) -> None:
    """Registers autograd for an op whose first output is a scalar loss.

    Args:
        op: the custom op.
        name: what a message calls it.
        slopes: input → the output that is the loss's gradient by that input, empty if not needed.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.num_inputs = len(inputs)
        ctx.save_for_backward(*(output[place] for place in slopes.values()))

    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_double_backward(name)
        grads: list[Tensor | None] = [None] * ctx.num_inputs
        for place, slope, needed in zip(slopes, ctx.saved_tensors, _needed(ctx, slopes), strict=True):
            if needed and grad is not None:
                grads[place] = slope * grad.to(slope.dtype)
        return tuple(grads)

    op.register_autograd(backward, setup_context=setup_context)


def _needed(ctx: Any, slopes: Mapping[int, int]) -> list[bool]:
    return [bool(ctx.needs_input_grad[place]) for place in slopes]
