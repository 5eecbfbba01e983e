"""The distillation loss from hidden states: a chunk of rows at a time, its gradients in the same pass.

The products are the library's; between them the row kernels turn a chunk's logits into their own gradient.

Shapes: **N** rows, **V** vocabulary, **D** hidden, **C** rows of one chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.ops.precision import without_autocast
from harness.ops.projection import Projection
from harness.ops.reference import mean_rows
from harness.ops.slopes import register_slopes

_HERE = torch.ops.harness
_ROUNDED_CHUNKS = 8  # rounding the sum to bfloat16 so often costs less than its own last bit


class _Terms(NamedTuple):
    """Labels, mask and weights of the loss."""

    target: Tensor | None
    soft_mask: Tensor | None
    temperature: float
    soft_weight: float
    hard_weight: float
    ignore_index: int

    def hard_mask(self) -> Tensor | None:
        return None if self.target is None else self.target != self.ignore_index

    def rows(self, rows: slice) -> tuple[Tensor | None, Tensor | None]:
        target = None if self.target is None else self.target[rows]
        return target, None if self.soft_mask is None else self.soft_mask[rows]

    def slopes(self, like_N: Tensor) -> Tensor:
        """Gives dL/d(divergence) and dL/d(cross-entropy) of every row that counts."""
        ones_N = torch.ones_like(like_N)
        counts = [
            ones_N.new_tensor(max(len(ones_N), 1)) if mask_N is None else mask_N.sum().clamp(min=1)
            for mask_N in (self.soft_mask, self.hard_mask())
        ]
        weights = ones_N.new_tensor([self.soft_weight * self.temperature**2, self.hard_weight])
        return weights / torch.stack([count.to(ones_N.dtype) for count in counts])


class _Gradients:
    """The gradients of one student's projection, summed chunk by chunk.

    Low-precision sums are taken in float32 where so many chunks would be rounded that it shows.
    """

    def __init__(self, student: Projection, needs: tuple[bool, bool, bool], num_chunks: int) -> None:
        hidden_ND, weight_VD, _ = student
        self._student, self._needs = student, needs
        wide = torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32
        self._own = hidden_ND.dtype == wide or num_chunks <= _ROUNDED_CHUNKS
        dtype = hidden_ND.dtype if self._own else wide
        self._hidden = torch.empty_like(hidden_ND) if needs[0] else hidden_ND.new_empty(0)
        fresh = torch.empty_like if num_chunks else torch.zeros_like  # the first chunk writes all of it
        self._weight = fresh(weight_VD, dtype=dtype) if needs[1] else weight_VD.new_empty(0)
        self._bias = weight_VD.new_zeros(len(weight_VD) if needs[2] else 0, dtype=wide)

    def add(self, rows: slice, slope_CV: Tensor) -> None:
        hidden_CD = self._student.hidden[rows]
        if self._needs[0]:
            torch.mm(slope_CV, self._student.weight, out=self._hidden[rows])
        if self._needs[1] and self._own:
            self._weight.addmm_(slope_CV.T, hidden_CD, beta=0 if rows.start == 0 else 1)
        elif self._needs[1] and rows.start == 0:
            self._weight.copy_(slope_CV.T @ hidden_CD)
        elif self._needs[1]:
            self._weight += slope_CV.T @ hidden_CD
        if self._needs[2]:
            self._bias += slope_CV.sum(0, dtype=self._bias.dtype)

    def get(self) -> tuple[Tensor, Tensor, Tensor]:
        dtype = self._student.hidden.dtype
        return self._hidden, self._weight.to(dtype), self._bias.to(dtype)


def _project(projection: Projection, rows: slice, out_CV: Tensor) -> Tensor:
    hidden_CD, weight_DV = projection.hidden[rows], projection.weight.T
    out_CV = out_CV[: len(hidden_CD)]
    if projection.bias is None:
        return torch.mm(hidden_CD, weight_DV, out=out_CV)
    return torch.addmm(projection.bias, hidden_CD, weight_DV, out=out_CV)


def _sum_chunks(
    student: Projection,
    teacher: Projection | None,
    terms: _Terms,
    chunk_size: int,
    gradients: _Gradients | None,
) -> tuple[Tensor, Tensor]:
    """Gives every row's divergence and cross-entropy; hands each chunk's gradient on."""
    num_rows, vocabulary = len(student.hidden), len(student.weight)
    student_CV = student.hidden.new_empty(min(chunk_size, num_rows), vocabulary)
    teacher_CV = student_CV if teacher is None else torch.empty_like(student_CV)
    dtype = torch.float64 if student_CV.dtype == torch.float64 else torch.float32
    losses_2N = student.hidden.new_empty(2, num_rows, dtype=dtype)
    slopes = terms.slopes(losses_2N[0])
    for start in range(0, num_rows, chunk_size):
        rows = slice(start, min(start + chunk_size, num_rows))
        learnt_CV = _project(student, rows, student_CV)
        pair = learnt_CV, learnt_CV if teacher is None else _project(teacher, rows, teacher_CV)
        target_C, mask_C = terms.rows(rows)
        settings = (terms.temperature, terms.ignore_index)
        if gradients is None:
            soft_C, hard_C, _ = _HERE.distillation_loss(
                *pair, target_C, mask_C, settings[0], "forward_kl", settings[1], False
            )
        else:
            soft_C, hard_C = _HERE.distillation_loss_forward_backward_(
                *pair, target_C, mask_C, slopes, *settings
            )
            gradients.add(rows, pair[0])
        losses_2N[0, rows], losses_2N[1, rows] = soft_C, hard_C
    return losses_2N[0], losses_2N[1]


@torch.library.custom_op("harness::linear_distillation_loss", mutates_args=())
def linear_distillation_loss(  # noqa: PLR0917 — the schema of an op with autograd is positional
    student_hidden_ND: Tensor,
    student_weight_VD: Tensor,
    student_bias_V: Tensor | None,
    teacher_hidden_ND: Tensor | None,
    teacher_weight_VD: Tensor | None,
    teacher_bias_V: Tensor | None,
    target_N: Tensor | None,
    soft_mask_N: Tensor | None,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    ignore_index: int,
    chunk_size: int,
    needs_hidden: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss and its gradients by the student's three tensors; a gradient not needed is empty.

    A soft weight of zero needs no teacher.
    """
    student = Projection(student_hidden_ND, student_weight_VD, student_bias_V)
    teacher = None
    if soft_weight:
        assert teacher_hidden_ND is not None
        assert teacher_weight_VD is not None
        teacher = Projection(teacher_hidden_ND, teacher_weight_VD, teacher_bias_V)
    else:
        soft_mask_N = torch.zeros(len(student.hidden), dtype=torch.bool, device=student.hidden.device)
    terms = _Terms(target_N, soft_mask_N, temperature, soft_weight, hard_weight, ignore_index)
    needs = (needs_hidden, needs_weight, needs_bias)
    with without_autocast(student.hidden), torch.no_grad():
        num_chunks = -(-len(student.hidden) // chunk_size)
        gradients = _Gradients(student, needs, num_chunks)
        soft_N, hard_N = _sum_chunks(student, teacher, terms, chunk_size, gradients if any(needs) else None)
        soft = mean_rows(soft_N, soft_mask_N) * temperature**2
        hard = mean_rows(hard_N, terms.hard_mask())
        loss = soft * soft_weight if soft_weight else torch.zeros_like(soft)
        return loss + hard * hard_weight if hard_weight else loss, *gradients.get()


@linear_distillation_loss.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden_ND, weight_VD = inputs[:2]
    needs_hidden, needs_weight, needs_bias = inputs[-3:]
    dtype = torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32
    return (
        hidden_ND.new_empty((), dtype=dtype),
        hidden_ND.new_empty(hidden_ND.shape if needs_hidden else (0,)),
        weight_VD.new_empty(weight_VD.shape if needs_weight else (0,)),
        weight_VD.new_empty(weight_VD.shape[:1] if needs_bias else (0,)),
    )


register_slopes(linear_distillation_loss, "linear_distillation_loss", {0: 1, 1: 2, 2: 3})
