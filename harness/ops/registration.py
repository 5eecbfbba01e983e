"""Fake kernels and autograd for the ops whose schemas are in csrc/registration.cpp.

Imported when the compiled extension is loaded. A fake kernel gives shapes and dtypes, for ``torch.compile``.

Shapes: **N** rows, **V** vocabulary, **D** hidden, **F** FFN width, **S** numbers kept of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.ops.slopes import refuse_double_backward, scale

_STATISTICS = 6
_HERE = torch.ops.harness


def _sum_type(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _distillation_fake(student_NV: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    statistics_NS = student_NV.new_empty(student_NV.shape[0], _STATISTICS, dtype=_sum_type(student_NV))
    return *_forward_backward_fake(student_NV), statistics_NS


def _forward_backward_fake(student_NV: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    num_rows, dtype = student_NV.shape[0], _sum_type(student_NV)
    return student_NV.new_empty(num_rows, dtype=dtype), student_NV.new_empty(num_rows, dtype=dtype)


def _hidden_fake(students: Sequence[Tensor], *settings: Any) -> tuple[Tensor, list[Tensor]]:
    loss = students[0].new_empty((), dtype=_sum_type(students[0]))
    return loss, [one.new_empty(one.shape) for one in students] if settings[-1] else []


def _gelu_backward_fake(slope_NF: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return slope_NF.new_empty(slope_NF.shape), slope_NF.new_empty(
        slope_NF.shape[1], dtype=_sum_type(slope_NF)
    )


_FAKES: dict[str, Callable[..., Any]] = {
    "distillation_loss": _distillation_fake,
    "distillation_loss_backward": lambda *inputs: inputs[2].new_empty(inputs[2].shape),
    "distillation_loss_backward_": lambda *_: None,
    "distillation_loss_forward_backward_": _forward_backward_fake,
    "hidden_state_loss": _hidden_fake,
    "gelu": lambda pre_NF: pre_NF.new_empty(pre_NF.shape),
    "gelu_backward_": _gelu_backward_fake,
}
for _name, _fake in _FAKES.items():
    torch.library.register_fake(f"harness::{_name}", _fake)


def _distillation_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    student_NV, teacher_NV, target_N, mask_N, temperature, divergence, ignore_index, inplace = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(student_NV, teacher_NV, target_N, mask_N, output[2])
    ctx.settings = (temperature, divergence, ignore_index)
    ctx.inplace = inplace


def _distillation_saved(ctx: Any) -> tuple[Tensor, ...]:
    try:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
    except RuntimeError as error:
        if ctx.inplace and "modified by an inplace operation" in str(error):
            raise HarnessError(
                "distillation_loss: student_logits: wanted the logits of the forward pass; got logits "
                "written over since, by a first backward pass with inplace_backward=True or by the caller"
            ) from error
        raise
    return saved


def _distillation_backward(
    ctx: Any, soft_slope_N: Tensor, hard_slope_N: Tensor, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    refuse_double_backward("distillation_loss")
    student_NV, teacher_NV, target_N, mask_N, statistics_NS = _distillation_saved(ctx)
    nothing = (None,) * 7
    if not ctx.needs_input_grad[0]:
        return (None, *nothing)
    slopes = (soft_slope_N.contiguous(), hard_slope_N.contiguous())
    rest = (teacher_NV, target_N, mask_N, statistics_NS, *ctx.settings)
    if ctx.inplace:
        _HERE.distillation_loss_backward_(*slopes, student_NV, *rest)
        torch.autograd.graph.increment_version(student_NV)
        return (student_NV, *nothing)
    return (_HERE.distillation_loss_backward(*slopes, student_NV, *rest), *nothing)


torch.library.register_autograd(
    "harness::distillation_loss", _distillation_backward, setup_context=_distillation_context
)


def _hidden_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    ctx.num_layers = len(inputs[0])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1])
    ctx.save_for_backward(*output[1])


def _hidden_backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
    refuse_double_backward("hidden_state_loss")
    nothing = [None] * ctx.num_layers
    if grad is None:
        return nothing, nothing, None, None, None, None
    slopes = [scale(slope, grad) for slope in ctx.saved_tensors]
    return slopes, nothing, None, None, None, None


torch.library.register_autograd("harness::hidden_state_loss", _hidden_backward, setup_context=_hidden_context)
