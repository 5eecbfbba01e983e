"""Variants to compare the ops with: the usual PyTorch code, and other libraries' patterns in plain PyTorch.

Liger's kernels are Triton and run on GPUs alone. Its *pattern*, gradients formed in the forward pass and a
projection taken in chunks of rows, is written here in PyTorch, so that it can be timed on a CPU too.

Shapes: **N** rows, **V** vocabulary, **D** hidden.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

TAU, SOFT, HARD = 2.0, 0.5, 0.5
LIGER_CHUNK = 1024


def distillation(student_NV: Tensor, teacher_NV: Tensor, target_N: Tensor) -> Tensor:
    """Compute distillation from logits the usual way."""
    soft = functional.kl_div(
        functional.log_softmax(student_NV / TAU, -1),
        functional.softmax(teacher_NV / TAU, -1),
        reduction="batchmean",
    )
    return SOFT * TAU**2 * soft + HARD * functional.cross_entropy(student_NV, target_N)


class _Pattern(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student_NV: Tensor, teacher_NV: Tensor, target_N: Tensor) -> Tensor:
        rows = torch.arange(len(target_N), device=target_N.device)
        logs_NV = functional.log_softmax(student_NV.float() / TAU, -1)
        share_NV = functional.softmax(teacher_NV.float() / TAU, -1)
        soft = functional.kl_div(logs_NV, share_NV, reduction="sum")
        slope_NV = logs_NV.exp_().sub_(share_NV).mul_(SOFT * TAU)
        hard_NV = functional.log_softmax(student_NV.float(), -1)
        hard = -hard_NV[rows, target_N].sum()
        slope_NV += hard_NV.exp_().mul_(HARD)
        slope_NV[rows, target_N] -= HARD
        ctx.save_for_backward((slope_NV / len(rows)).to(student_NV.dtype))
        return (SOFT * TAU**2 * soft + HARD * hard) / len(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * grad.to(ctx.saved_tensors[0].dtype), None, None


def distillation_pattern(student_NV: Tensor, teacher_NV: Tensor, target_N: Tensor) -> Tensor:
    """Compute the loss from logits as Liger does: in one pass that keeps the gradient."""
    loss: Tensor = _Pattern.apply(student_NV, teacher_NV, target_N)  # type: ignore[no-untyped-call]
    return loss


def linear_distillation(
    hidden_ND: Tensor, weight_VD: Tensor, teacher_ND: Tensor, teacher_VD: Tensor, target_N: Tensor
) -> Tensor:
    """Compute the loss the usual way: from both sets of logits, whole."""
    with torch.no_grad():
        teacher_NV = teacher_ND @ teacher_VD.T
    return distillation(hidden_ND @ weight_VD.T, teacher_NV, target_N)


class _LinearPattern(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        hidden_ND, weight_VD, teacher_ND, teacher_VD, target_N = given

        def chunk(hidden_CD: Tensor, weight_VD: Tensor, rows: slice) -> Tensor:
            teacher_CV = teacher_ND[rows] @ teacher_VD.T
            return distillation(hidden_CD @ weight_VD.T, teacher_CV, target_N[rows]) * len(hidden_CD)

        total = hidden_ND.new_zeros((), dtype=torch.float32)
        by_hidden, by_weight_VD = [], torch.zeros_like(weight_VD)
        for start in range(0, len(hidden_ND), LIGER_CHUNK):
            rows = slice(start, start + LIGER_CHUNK)
            gradient = torch.func.grad_and_value(chunk, argnums=(0, 1))
            (slope_CD, slope_VD), loss = gradient(hidden_ND[rows], weight_VD, rows)
            total += loss
            by_hidden.append(slope_CD)
            by_weight_VD += slope_VD
        num_rows = len(hidden_ND)
        ctx.save_for_backward(torch.cat(by_hidden) / num_rows, by_weight_VD / num_rows)
        return total / num_rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(slope * grad.to(slope.dtype) for slope in ctx.saved_tensors), None, None, None


def linear_distillation_pattern(*given: Tensor) -> Tensor:
    """Compute the loss from hidden states as Liger does: gradients of a chunk of 1024 rows at a time."""
    loss: Tensor = _LinearPattern.apply(*given)  # type: ignore[no-untyped-call]
    return loss


def liger_linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
    """Compute the hard term by Liger's own Triton kernel, which needs a CUDA build of torch."""
    kernels = import_module("liger_kernel.transformers")
    loss: Tensor = kernels.LigerFusedLinearCrossEntropyLoss()(weight_VD, hidden_ND, target_N)
    return loss


def linear_mse(hidden_ND: Tensor, weight_VD: Tensor, teacher_ND: Tensor, teacher_VD: Tensor) -> Tensor:
    """Compute the mean squared difference of the logits the usual way."""
    with torch.no_grad():
        teacher_NV = teacher_ND @ teacher_VD.T
    return functional.mse_loss(hidden_ND @ weight_VD.T, teacher_NV)


def hidden_cosine(students: list[Tensor], teachers: list[Tensor]) -> Tensor:
    """Compute the cosine loss of hidden states the usual way."""
    ones_N = torch.ones(len(students[0]), device=students[0].device)
    pairs = zip(students, teachers, strict=True)
    return torch.stack([functional.cosine_embedding_loss(*pair, ones_N) for pair in pairs]).mean()


def hidden_mse(students: list[Tensor], teachers: list[Tensor]) -> Tensor:
    """Compute the mean squared difference of hidden states the usual way."""
    pairs = zip(students, teachers, strict=True)
    return torch.stack([functional.mse_loss(*pair) for pair in pairs]).mean()


def ffn(x_ND: Tensor, w_in_FD: Tensor, b_in_F: Tensor, w_out_DF: Tensor, b_out_D: Tensor) -> Tensor:
    """Compute the FFN the usual way."""
    h_NF = functional.gelu(functional.linear(x_ND, w_in_FD, b_in_F))
    return functional.linear(h_NF, w_out_DF, b_out_D)
