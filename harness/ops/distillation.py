"""Hinton's distillation loss over a vocabulary, from logits or from the hidden states before them.

    loss = soft_weight · τ² · mean D(p_teacher, p_student at τ) + hard_weight · mean CE(student, target)

(Hinton, Vinyals and Dean 2015, section 2). A mean is over the rows that count: those of ``soft_mask`` for
the first term, those whose label is not ignored for the second. The mean over no rows is zero.

Shapes: **N** rows, **V** vocabulary, **D** hidden.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from harness.ops import checks, linear_distillation, reference
from harness.ops.chunks import choose_chunk_size
from harness.ops.extension import implementation
from harness.ops.precision import lower
from harness.ops.projection import Projection, check_projections

DIVERGENCES = ("forward_kl", "reverse_kl")
Divergence = Literal["forward_kl", "reverse_kl"]


class DistillationLoss(NamedTuple):
    """The loss and its parts before weighting.

    Attributes:
        loss: the weighted sum; gradients flow from it alone.
        soft: τ² · mean divergence, detached.
        hard: mean cross-entropy, detached; zero without a target.
    """

    loss: Tensor
    soft: Tensor
    hard: Tensor


@overload
def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor | None = ...,
    *,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    divergence: Divergence = ...,
    ignore_index: int = ...,
    soft_mask: Tensor | None = ...,
    inplace_backward: bool = ...,
    return_components: Literal[False] = ...,
) -> Tensor: ...


@overload
def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor | None = ...,
    *,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    divergence: Divergence = ...,
    ignore_index: int = ...,
    soft_mask: Tensor | None = ...,
    inplace_backward: bool = ...,
    return_components: Literal[True],
) -> DistillationLoss: ...


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor | None = None,
    *,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    divergence: Divergence = "forward_kl",
    ignore_index: int = -100,
    soft_mask: Tensor | None = None,
    inplace_backward: bool = False,
    return_components: bool = False,
) -> Tensor | DistillationLoss:
    """Gives the distillation loss of two sets of logits.

    Holds: no gradient flows to the teacher; rows left out by the mask or by their label get none and may hold
    anything; ``-inf`` logits are probabilities of zero; NaN in a row that counts gives NaN.

    Args:
        student_logits: N×V.
        teacher_logits: N×V, same dtype and device.
        target: N labels (int64), ``ignore_index`` where there is none; needed if ``hard_weight`` is not zero.
        temperature: τ > 0, for the first term only.
        soft_weight: of the divergence, which carries τ².
        hard_weight: of the cross-entropy.
        divergence: ``forward_kl`` is KL(teacher ‖ student), ``reverse_kl`` is KL(student ‖ teacher).
        ignore_index: the label that is no label.
        soft_mask: N booleans, the rows of the divergence; all if none.
        inplace_backward: the kernels' backward pass may write the gradient over ``student_logits``, if its
            rows lie in one piece each: N×V less memory; the logits are unusable after it, and a second
            backward pass is an error. The reference never does.
        return_components: give `DistillationLoss` instead of the loss alone.

    Raises:
        HarnessError: an argument does not fit; names it.
    """
    op = "distillation_loss"
    checks.check_float(op, "student_logits", student_logits, 2)
    checks.check_like(op, "teacher_logits", teacher_logits, tuple(student_logits.shape), student_logits)
    if student_logits.shape[1] == 0:
        raise checks.fault(op, "student_logits", "one token or more", "N×0")
    checks.check_choice(op, "divergence", divergence, DIVERGENCES)
    weights = (temperature, soft_weight, hard_weight)
    _check_weights(op, weights, target)
    check_rows(op, student_logits, student_logits.shape[1], target, soft_mask, ignore_index)
    pair = student_logits, teacher_logits.detach()
    if implementation(student_logits.device) == "compiled":
        inplace = inplace_backward and _is_writable(student_logits)
        rows = torch.ops.harness.distillation_loss(
            *pair, target, soft_mask, temperature, divergence, ignore_index, inplace
        )
    else:
        rows = reference.distillation_rows(*pair, target, soft_mask, temperature, divergence, ignore_index)
    keep_N = None if target is None else target != ignore_index
    parts = _combine(rows[0], rows[1], soft_mask, keep_N, weights)
    return parts if return_components else parts.loss


def linear_distillation_loss(
    student_hidden: Tensor,
    student_weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None = None,
    *,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    vocab_index: Tensor | None = None,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    ignore_index: int = -100,
    soft_mask: Tensor | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Gives `distillation_loss` (forward KL) of ``hidden @ weight.T + bias`` without ever holding N×V logits.

    Holds: equal for every ``chunk_size`` up to rounding. Under autocast hidden states, weights and biases are
    taken in autocast's dtype, as ``F.linear`` takes them.

    Args:
        student_hidden: N×D of the student.
        student_weight: V×D of the student.
        teacher_hidden: N×D of the teacher, whose D may differ.
        teacher_weight: V×D of the teacher; with ``vocab_index`` it may have more rows.
        target: N labels (int64) in the student's vocabulary; needed if ``hard_weight`` is not zero.
        student_bias: V.
        teacher_bias: as many as ``teacher_weight`` has rows.
        vocab_index: for each of the student's V tokens its row in the teacher's weight (int64): a student
            with a trimmed vocabulary is compared on the tokens it kept. Without it they must be equal.
        temperature: τ > 0.
        soft_weight: of τ² · KL(teacher ‖ student).
        hard_weight: of the cross-entropy.
        ignore_index: the label that is no label.
        soft_mask: N booleans, the rows of the divergence; all if none.
        chunk_size: rows of logits held at once; chosen from N if none.

    Raises:
        HarnessError: an argument does not fit; names it.
    """
    op = "linear_distillation_loss"
    student = Projection(student_hidden, student_weight, student_bias).each(lower)
    teacher = Projection(teacher_hidden, teacher_weight, teacher_bias).each(lower)
    check_projections(op, student, teacher, vocab_index)
    weights = (temperature, soft_weight, hard_weight)
    _check_weights(op, weights, target)
    check_rows(op, student_hidden, student_weight.shape[0], target, soft_mask, ignore_index)
    chunk_size = choose_chunk_size(op, chunk_size, student_hidden.shape[0])
    teacher = teacher.each(Tensor.detach).select(vocab_index)
    if implementation(student_hidden.device) == "compiled":
        settings = (*weights, ignore_index, chunk_size, *student.needs())
        outputs = linear_distillation.linear_distillation_loss(
            *student, *teacher, target, soft_mask, *settings
        )
        loss: Tensor = outputs[0]
        return loss
    rows = reference.linear_distillation_rows(
        student,
        teacher,
        target,
        soft_mask,
        temperature=temperature,
        ignore_index=ignore_index,
        chunk_size=chunk_size,
    )
    keep_N = None if target is None else target != ignore_index
    return _combine(*rows, soft_mask, keep_N, weights).loss


def _is_writable(logits_NV: Tensor) -> bool:
    """Whether a gradient can be written over the logits: rows in one piece each that do not overlap."""
    rows_whole = logits_NV.stride(1) == 1 and logits_NV.stride(0) >= logits_NV.shape[1]
    return logits_NV.requires_grad and rows_whole


def _combine(
    soft_N: Tensor,
    hard_N: Tensor,
    soft_mask_N: Tensor | None,
    hard_mask_N: Tensor | None,
    weights: tuple[float, float, float],
) -> DistillationLoss:
    temperature, soft_weight, hard_weight = weights
    soft = reference.mean_rows(soft_N, soft_mask_N) * temperature**2
    hard = reference.mean_rows(hard_N, hard_mask_N)
    loss = soft_weight * soft if soft_weight else 0.0 * soft_N.new_zeros(())
    if hard_weight:
        loss = loss + hard_weight * hard
    return DistillationLoss(loss, soft.detach(), hard.detach())


def _check_weights(op: str, weights: tuple[float, float, float], target_N: Tensor | None) -> None:
    temperature, soft_weight, hard_weight = weights
    checks.check_positive(op, "temperature", temperature)
    checks.check_weight(op, "soft_weight", soft_weight)
    checks.check_weight(op, "hard_weight", hard_weight)
    if hard_weight and target_N is None:
        raise checks.fault(op, "target", f"labels, as hard_weight is {hard_weight}", "none")


def check_rows(  # noqa: PLR0917 — the op's own arguments, in their order
    op: str, like_N: Tensor, vocabulary: int, target_N: Tensor | None, mask_N: Tensor | None, ignore: int
) -> None:
    """Check that labels and mask fit the rows: their number, their dtype, their device, and their values."""
    rows = (like_N.shape[0],)
    if target_N is not None:
        checks.check_exact(op, "target", target_N, torch.int64, rows)
        checks.check_device(op, "target", target_N, like_N)
        checks.check_indices(op, "target", target_N, vocabulary, ignore)
    if mask_N is not None:
        checks.check_exact(op, "soft_mask", mask_N, torch.bool, rows)
        checks.check_device(op, "soft_mask", mask_N, like_N)
