"""Distil or classify from hidden states, some rows of logits at a time, with the gradients in the same pass.

The products are the library's; between them the row kernels turn a chunk's logits into their own gradient.

Shapes: **N** rows, **V** vocabulary, **D** hidden, **C** rows of one chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harness.ops import checks
from harness.ops.projection import Projection
from harness.ops.reference import sum_dtype

_ROUNDED_CHUNKS = 8  # rounding the sum to bfloat16 so often costs less than its own last bit
_CHUNK_BYTES = 96 << 20  # of logits, which cost little next to the weights of such a vocabulary
_COLUMNS = 64  # rows of logits begin at multiples of so many columns, where products are faster


def default_chunk_size(num_rows: int, row_bytes: int) -> int:
    """Return how many rows of logits to hold: a quarter of all rows or 96 MiB of logits, whichever is more.

    Invariants: 1024 rows at most; 128 at least, where there are so many; equal chunks up to 16 rows.

    Args:
        num_rows: of all chunks.
        row_bytes: of the logits of one row, the student's and the teacher's.
    """
    most = max(128, min(1024, max(num_rows // 4, _CHUNK_BYTES // row_bytes)))
    num_chunks = max(1, -(-num_rows // most))
    return min(most, max(1, -(-num_rows // (16 * num_chunks))) * 16)


def choose_chunk_size(op: str, chunk_size: int | None, student: Projection, num_models: int) -> int:
    """Return the caller's chunk size if it is a whole number above zero, the default if it is ``None``."""
    if chunk_size is None:
        vocabulary, width = student.weight.shape[0], student.hidden.element_size()
        return default_chunk_size(student.hidden.shape[0], num_models * vocabulary * width)
    checks.check_whole_number(op, "chunk_size", chunk_size, 1)
    return chunk_size


def _new_logits(like_ND: Tensor, num_rows: int, vocabulary: int) -> Tensor:
    """Return memory for logits whose rows begin at multiples of 64 columns."""
    padded = -(-vocabulary // _COLUMNS) * _COLUMNS
    return like_ND.new_empty(num_rows, padded)[:, :vocabulary]


class Terms(NamedTuple):
    """Labels, mask and weights of the loss."""

    target: Tensor | None
    soft_mask: Tensor | None
    temperature: float
    soft_weight: float
    hard_weight: float
    ignore_index: int

    def hard_mask(self) -> Tensor | None:
        """Return the rows that have a label; ``None`` without labels."""
        return None if self.target is None else self.target != self.ignore_index

    def select(self, rows: slice) -> tuple[Tensor | None, Tensor | None]:
        """Return the labels and the mask of some rows."""
        target = None if self.target is None else self.target[rows]
        return target, None if self.soft_mask is None else self.soft_mask[rows]

    def row_weights(self, like_N: Tensor) -> Tensor:
        """Return dL/d(divergence) and dL/d(cross-entropy) of every row that counts."""
        ones_N = torch.ones_like(like_N)
        counts = [
            ones_N.new_tensor(max(len(ones_N), 1)) if mask_N is None else mask_N.sum().clamp(min=1)
            for mask_N in (self.soft_mask, self.hard_mask())
        ]
        weights = ones_N.new_tensor([self.soft_weight * self.temperature**2, self.hard_weight])
        return weights / torch.stack([count.to(ones_N.dtype) for count in counts])


class Gradients:
    """The gradients of one student's projection, summed chunk by chunk.

    Low-precision sums are taken in float32 where so many chunks would be rounded that it shows.
    """

    def __init__(self, student: Projection, needs: tuple[bool, bool, bool], num_chunks: int) -> None:
        hidden_ND, weight_VD, _ = student
        self._student, self._needs = student, needs
        wide = sum_dtype(hidden_ND)
        self._in_place = hidden_ND.dtype == wide or num_chunks <= _ROUNDED_CHUNKS
        dtype = hidden_ND.dtype if self._in_place else wide
        self._hidden = torch.empty_like(hidden_ND) if needs[0] else hidden_ND.new_empty(0)
        allocate = torch.empty_like if num_chunks else torch.zeros_like  # the first chunk writes all of it
        self._weight = allocate(weight_VD, dtype=dtype) if needs[1] else weight_VD.new_empty(0)
        self._bias = weight_VD.new_zeros(len(weight_VD) if needs[2] else 0, dtype=wide)

    def add(self, rows: slice, grad_CV: Tensor) -> None:
        """Add what the gradient by some rows' logits contributes."""
        hidden_CD = self._student.hidden[rows]
        if self._needs[0]:
            torch.mm(grad_CV, self._student.weight, out=self._hidden[rows])
        if self._needs[1] and self._in_place:
            self._weight.addmm_(grad_CV.T, hidden_CD, beta=0 if rows.start == 0 else 1)
        elif self._needs[1] and rows.start == 0:
            self._weight.copy_(grad_CV.T @ hidden_CD)
        elif self._needs[1]:
            self._weight += grad_CV.T @ hidden_CD
        if self._needs[2]:
            self._bias += grad_CV.sum(0, dtype=self._bias.dtype)

    def get(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients by hidden state, weight and bias; a gradient not needed is empty."""
        dtype = self._student.hidden.dtype
        return self._hidden, self._weight.to(dtype), self._bias.to(dtype)


def _project(projection: Projection, rows: slice, out_CV: Tensor) -> Tensor:
    hidden_CD, weight_DV = projection.hidden[rows], projection.weight.T
    out_CV = out_CV[: len(hidden_CD)]
    if projection.bias is None:
        return torch.mm(hidden_CD, weight_DV, out=out_CV)
    return torch.addmm(projection.bias, hidden_CD, weight_DV, out=out_CV)


def sum_chunks(
    student: Projection,
    teacher: Projection | None,
    terms: Terms,
    chunk_size: int,
    gradients: Gradients | None,
) -> tuple[Tensor, Tensor]:
    """Return every row's divergence and cross-entropy; add each chunk's gradient to ``gradients``.

    Args:
        student: of N rows.
        teacher: of as many rows; ``None`` if no row has a divergence.
        terms: labels, mask and weights.
        chunk_size: rows of logits that exist at once.
        gradients: their sums; ``None`` if no gradient is needed.
    """
    num_rows, vocabulary = len(student.hidden), len(student.weight)
    longest = min(chunk_size, num_rows)
    student_CV = _new_logits(student.hidden, longest, vocabulary)
    teacher_CV = student_CV if teacher is None else _new_logits(student.hidden, longest, vocabulary)
    losses_2N = student.hidden.new_empty(2, num_rows, dtype=sum_dtype(student_CV))
    row_weights_2 = terms.row_weights(losses_2N[0])
    for start in range(0, num_rows, chunk_size):
        rows = slice(start, min(start + chunk_size, num_rows))
        logits_CV = _project(student, rows, student_CV)
        pair = logits_CV, logits_CV if teacher is None else _project(teacher, rows, teacher_CV)
        target_C, mask_C = terms.select(rows)
        if gradients is None:
            losses = torch.ops.harness.distillation_loss(
                *pair, target_C, mask_C, terms.temperature, "forward_kl", terms.ignore_index, False
            )
        else:
            losses = torch.ops.harness.distillation_loss_forward_backward_(
                *pair, target_C, mask_C, row_weights_2, terms.temperature, terms.ignore_index
            )
            gradients.add(rows, logits_CV)
        losses_2N[0, rows], losses_2N[1, rows] = losses[0], losses[1]
    return losses_2N[0], losses_2N[1]
