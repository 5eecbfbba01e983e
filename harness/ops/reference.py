"""The definition of every op in pure PyTorch, which runs where no kernel was built.

Arguments are checked before. Low-precision inputs are computed in float32. Gradients are PyTorch's own, so
that this page can be read as the formulas themselves.

Shapes: **N** rows, **V** vocabulary, **D** hidden, **F** FFN width, **C** the logits of one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from harness.ops.projection import Projection

COSINE_EPSILON = 1e-12
"""Added to each squared length, as ``torch.nn.functional.cosine_embedding_loss`` does."""


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which the tensor is summed: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in the dtype in which it is summed."""
    return tensor.to(sum_dtype(tensor))


def soft_rows(student_NV: Tensor, teacher_NV: Tensor, temperature: float, divergence: str) -> Tensor:
    """Return each row's divergence of the two distributions at a temperature (without τ²).

    ``forward_kl`` is Σ p_t (log p_t − log p_s), ``reverse_kl`` is Σ p_s (log p_s − log p_t). Where the
    leading probability is zero the term is zero, whatever the other probability is.
    """
    student_NV = functional.log_softmax(widen(student_NV) / temperature, dim=-1)
    teacher_NV = functional.log_softmax(widen(teacher_NV) / temperature, dim=-1)
    leading_NV, other_NV = teacher_NV, student_NV
    if divergence == "reverse_kl":
        leading_NV, other_NV = student_NV, teacher_NV
    probability_NV = leading_NV.exp()
    difference_NV = torch.where(probability_NV == 0, 0.0, leading_NV - other_NV)
    return (probability_NV * difference_NV).sum(-1)


def hard_rows(student_NV: Tensor, target_N: Tensor, ignore_index: int) -> Tensor:
    """Return each row's cross-entropy with its label; zero where the label is ignored."""
    return functional.cross_entropy(
        widen(student_NV), target_N, ignore_index=ignore_index, reduction="none", label_smoothing=0.0
    )


def zero_rows(tensor_ND: Tensor, keep_N: Tensor | None) -> Tensor:
    """Return the tensor with the rows outside ``keep_N`` set to zero, so that their NaNs reach no loss."""
    return tensor_ND if keep_N is None else tensor_ND.masked_fill(~keep_N[:, None], 0.0)


def distillation_rows(  # noqa: PLR0917 — the schema of the compiled op, in its order
    student_NV: Tensor,
    teacher_NV: Tensor,
    target_N: Tensor | None,
    soft_mask_N: Tensor | None,
    temperature: float,
    divergence: str,
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    """Return each row's divergence and cross-entropy; zero where a mask or an ignored label leaves it out."""
    soft_N = soft_rows(
        zero_rows(student_NV, soft_mask_N), zero_rows(teacher_NV, soft_mask_N), temperature, divergence
    )
    if soft_mask_N is not None:
        soft_N = torch.where(soft_mask_N, soft_N, 0.0)
    if target_N is None:
        return soft_N, torch.zeros_like(soft_N)
    return soft_N, hard_rows(zero_rows(student_NV, target_N != ignore_index), target_N, ignore_index)


def mean_rows(rows_N: Tensor, keep_N: Tensor | None) -> Tensor:
    """Return the mean over the kept rows; zero if no row is kept."""
    if keep_N is None:
        return rows_N.sum() / max(rows_N.shape[0], 1)
    return rows_N.sum() / keep_N.sum().clamp(min=1)


def linear_distillation_rows(
    student: Projection,
    teacher: Projection,
    target_N: Tensor | None,
    soft_mask_N: Tensor | None,
    *,
    temperature: float,
    ignore_index: int,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """Return `distillation_rows` of the logits of two projections, a chunk of rows at a time.

    Invariants: the logits of at most ``chunk_size`` rows exist at once; the backward pass recomputes them.
    """

    def chunk(rows: slice, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        inner = Projection(tensors[0], tensors[1], tensors[2] if len(tensors) == 3 else None)
        target_C = None if target_N is None else target_N[rows]
        mask_C = None if soft_mask_N is None else soft_mask_N[rows]
        pair = inner.logits(rows), teacher.logits(rows)
        return distillation_rows(*pair, target_C, mask_C, temperature, "forward_kl", ignore_index)

    tensors = [tensor for tensor in student if tensor is not None]
    starts = range(0, max(len(student.hidden), 1), chunk_size)
    rows = [
        checkpoint(chunk, slice(start, start + chunk_size), *tensors, use_reentrant=False) for start in starts
    ]
    return torch.cat([soft for soft, _ in rows]), torch.cat([hard for _, hard in rows])


def linear_cross_entropy_rows(
    projection: Projection, target_N: Tensor, *, ignore_index: int, chunk_size: int | None
) -> Tensor:
    """Return each row's cross-entropy with its label (ignored: zero), by chunks if a chunk size is given."""

    def chunk(rows: slice, *tensors: Tensor) -> Tensor:
        inner = Projection(tensors[0], tensors[1], tensors[2] if len(tensors) == 3 else None)
        target_C = target_N[rows]
        return hard_rows(zero_rows(inner.logits(rows), target_C != ignore_index), target_C, ignore_index)

    tensors = [tensor for tensor in projection if tensor is not None]
    if chunk_size is None:
        return chunk(slice(None), *tensors)
    starts = range(0, max(len(projection.hidden), 1), chunk_size)
    slices = [slice(start, start + chunk_size) for start in starts]
    return torch.cat([checkpoint(chunk, rows, *tensors, use_reentrant=False) for rows in slices])


def mse_logits(student: Projection, teacher: Projection) -> Tensor:
    """Return the mean squared difference of two models' logits, forming both: the definition, for tests."""
    difference_NV = student.map(widen).logits() - teacher.map(widen).logits()
    return difference_NV.square().sum() / max(difference_NV.numel(), 1)


def hidden_rows(student_ND: Tensor, teacher_ND: Tensor, kind: str) -> Tensor:
    """Return each row's 1 − cos, or its mean squared difference."""
    student_ND, teacher_ND = widen(student_ND), widen(teacher_ND)
    if kind == "mse":
        return (student_ND - teacher_ND).square().mean(-1)
    dot_N = (student_ND * teacher_ND).sum(-1)
    student_N = student_ND.square().sum(-1) + COSINE_EPSILON
    teacher_N = teacher_ND.square().sum(-1) + COSINE_EPSILON
    return 1.0 - dot_N / (student_N * teacher_N).sqrt()


def hidden_state_loss(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    mask_N: Tensor | None,
    kind: str,
    weights: Sequence[float],
) -> Tensor:
    """Return the weighted sum over layers of the mean over kept rows; every tensor is N×D."""
    parts = []
    for student_ND, teacher_ND, weight in zip(students, teachers, weights, strict=True):
        rows_N = hidden_rows(zero_rows(student_ND, mask_N), zero_rows(teacher_ND, mask_N), kind)
        if mask_N is not None:
            rows_N = torch.where(mask_N, rows_N, 0.0)
        parts.append(weight * mean_rows(rows_N, mask_N))
    return torch.stack(parts).sum()


def linear_gelu(x_ND: Tensor, w_in_FD: Tensor, b_in_F: Tensor | None) -> Tensor:
    """Return the activations h between the layers of an FFN (the erf GELU of BERT and XLM-R)."""
    return functional.gelu(functional.linear(x_ND, w_in_FD, b_in_F))


def taylor_score(h_NF: Tensor, grad_NF: Tensor) -> Tensor:
    """Return |Σ_tokens h·∂L/∂h| of every neuron (Molchanov et al. 2017, first order)."""
    return (widen(h_NF) * widen(grad_NF)).sum(0).abs()


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_NF: Tensor, importance_F: Tensor) -> Tensor:
        ctx.save_for_backward(h_NF)
        ctx.importance_F = importance_F
        return h_NF.view_as(h_NF)

    @staticmethod
    def backward(ctx: Any, grad_NF: Tensor) -> tuple[Tensor, None]:
        (h_NF,) = ctx.saved_tensors
        ctx.importance_F.add_(taylor_score(h_NF, grad_NF))
        return grad_NF, None


def score_neurons(h_NF: Tensor, importance_F: Tensor) -> Tensor:
    """Return h itself; its backward pass adds `taylor_score` to ``importance_F``."""
    scored_NF: Tensor = _Score.apply(h_NF, importance_F)  # type: ignore[no-untyped-call]
    return scored_NF
