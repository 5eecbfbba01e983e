"""Hinton's distillation loss over a vocabulary, from logits.

    loss = soft_weight · τ² · mean D(p_teacher, p_student at τ) + hard_weight · mean CE(student, target)

(Hinton, Vinyals and Dean 2015, section 2). The first mean is over the rows of ``soft_mask``, the second over
the rows whose label is not ignored. The mean over no rows is zero.

Shapes: **N** rows, **V** vocabulary, **S** numbers that the forward pass keeps of each row.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from harness.ops import checks, reference
from harness.ops.autograd import refuse_double_backward
from harness.ops.extension import implementation, register_kernel

_OP = "distillation_loss"
_STATISTICS = 6
DIVERGENCES = ("forward_kl", "reverse_kl")
Divergence = Literal["forward_kl", "reverse_kl"]


class DistillationLoss(NamedTuple):
    """The loss and its two terms before weighting.

    Attributes:
        loss: the weighted sum; gradients flow from it alone.
        soft: τ² · mean divergence, detached.
        hard: mean cross-entropy, detached; zero without a target.
    """

    loss: Tensor
    soft: Tensor
    hard: Tensor


class TermWeights(NamedTuple):
    """The temperature of the soft term, and the weights of the soft and the hard term."""

    temperature: float
    soft: float
    hard: float

    def check(self, op: str, target_N: Tensor | None) -> None:
        """Check the three numbers, and that a hard term has labels."""
        checks.check_number(op, "temperature", self.temperature, 1e-18)
        checks.check_number(op, "soft_weight", self.soft, 0)
        checks.check_number(op, "hard_weight", self.hard, 0)
        if self.hard and target_N is None:
            raise checks.fault(op, "target", f"labels, as hard_weight is {self.hard}", "none")

    def combine(
        self, soft_N: Tensor, hard_N: Tensor, soft_mask_N: Tensor | None, hard_mask_N: Tensor | None
    ) -> DistillationLoss:
        """Return the loss of each row's divergence and cross-entropy."""
        soft = reference.mean_rows(soft_N, soft_mask_N) * self.temperature**2
        hard = reference.mean_rows(hard_N, hard_mask_N)
        loss = self.soft * soft if self.soft else 0.0 * soft_N.new_zeros(())
        if self.hard:
            loss = loss + self.hard * hard
        return DistillationLoss(loss, soft.detach(), hard.detach())


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
    """Return the distillation loss of two sets of logits.

    Invariants: no gradient flows to the teacher; rows that the mask or their label leaves out get no gradient
    and may contain anything; ``-inf`` logits are probabilities of zero; NaN in a row that counts makes the
    loss NaN; the order of the vocabulary changes nothing beyond rounding.

    Args:
        student_logits: N×V.
        teacher_logits: N×V, same dtype and device.
        target: N labels (int64), ``ignore_index`` where there is none; needed if ``hard_weight`` is not zero.
        temperature: τ > 0, for the soft term only.
        soft_weight: of the divergence, which is multiplied by τ².
        hard_weight: of the cross-entropy.
        divergence: ``forward_kl`` is KL(teacher ‖ student), ``reverse_kl`` is KL(student ‖ teacher).
        ignore_index: the label of rows without a label.
        soft_mask: N booleans, the rows of the divergence; all rows if ``None``.
        inplace_backward: let the kernels' backward pass write the gradient over ``student_logits`` if each
            row is contiguous: N×V less memory; afterwards the logits are unusable, and a second backward pass
            is an error. The reference never does.
        return_components: return `DistillationLoss` instead of the loss alone.

    Raises:
        HarnessError: an argument does not fit; names the argument.
    """
    checks.check_float(_OP, "student_logits", student_logits, 2)
    checks.check_like(_OP, "teacher_logits", teacher_logits, tuple(student_logits.shape), student_logits)
    checks.check_width(_OP, "student_logits", student_logits)
    checks.check_choice(_OP, "divergence", divergence, DIVERGENCES)
    checks.check_flag(_OP, "inplace_backward", inplace_backward)
    checks.check_flag(_OP, "return_components", return_components)
    weights = TermWeights(temperature, soft_weight, hard_weight)
    weights.check(_OP, target)
    if target is not None:
        checks.check_labels(_OP, target, student_logits, student_logits.shape[1], ignore_index)
    checks.check_mask(_OP, "soft_mask", soft_mask, (student_logits.shape[0],), student_logits)
    pair = student_logits, teacher_logits.detach()
    if implementation(student_logits.device) == "compiled":
        inplace = inplace_backward and _is_writable(student_logits)
        rows = torch.ops.harness.distillation_loss(
            *pair, target, soft_mask, temperature, divergence, ignore_index, inplace
        )
    else:
        rows = reference.distillation_rows(*pair, target, soft_mask, temperature, divergence, ignore_index)
    hard_mask_N = None if target is None else target != ignore_index
    parts = weights.combine(rows[0], rows[1], soft_mask, hard_mask_N)
    return parts if return_components else parts.loss


def _is_writable(logits_NV: Tensor) -> bool:
    """Whether a gradient can be written over the logits: contiguous rows that do not overlap."""
    rows_contiguous = logits_NV.stride(1) == 1 and logits_NV.stride(0) >= logits_NV.shape[1]
    return logits_NV.requires_grad and rows_contiguous


def _rows_fake(student_NV: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    shape, dtype = (student_NV.shape[0],), reference.sum_dtype(student_NV)
    return student_NV.new_empty(shape, dtype=dtype), student_NV.new_empty(shape, dtype=dtype)


def _forward_fake(student_NV: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    dtype = reference.sum_dtype(student_NV)
    statistics_NS = student_NV.new_empty(student_NV.shape[0], _STATISTICS, dtype=dtype)
    return *_rows_fake(student_NV), statistics_NS


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    student_NV, teacher_NV, target_N, mask_N, temperature, divergence, ignore_index, inplace = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(student_NV, teacher_NV, target_N, mask_N, output[2])
    ctx.settings = (temperature, divergence, ignore_index)
    ctx.inplace = inplace


def _saved_tensors(ctx: Any) -> tuple[Tensor, ...]:
    try:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
    except RuntimeError as error:
        if ctx.inplace and "modified by an inplace operation" in str(error):
            raise checks.fault(
                _OP,
                "student_logits",
                "the logits of the forward pass",
                "logits that were overwritten since, by a first backward pass with inplace_backward=True or "
                "by the caller",
            ) from error
        raise
    return saved


def _backward(
    ctx: Any, grad_soft_N: Tensor, grad_hard_N: Tensor, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    refuse_double_backward(_OP)
    student_NV, teacher_NV, target_N, mask_N, statistics_NS = _saved_tensors(ctx)
    no_gradients = (None,) * 7
    if not ctx.needs_input_grad[0]:
        return (None, *no_gradients)
    grads = (grad_soft_N.contiguous(), grad_hard_N.contiguous())
    rest = (teacher_NV, target_N, mask_N, statistics_NS, *ctx.settings)
    if ctx.inplace:
        torch.ops.harness.distillation_loss_backward_(*grads, student_NV, *rest)
        torch.autograd.graph.increment_version(student_NV)
        return (student_NV, *no_gradients)
    return (torch.ops.harness.distillation_loss_backward(*grads, student_NV, *rest), *no_gradients)


register_kernel(_OP, _forward_fake, backward=_backward, setup_context=_setup_context)
register_kernel("distillation_loss_backward", lambda *inputs: inputs[2].new_empty(inputs[2].shape))
register_kernel("distillation_loss_backward_", lambda *_: None)
register_kernel("distillation_loss_forward_backward_", _rows_fake)
