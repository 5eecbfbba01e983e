"""The distillation loss from hidden states, without the logits of all rows.

Shapes: **N** rows, **V** vocabulary, **D** hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.ops import checks, reference
from harness.ops.autograd import register_forward_gradients
from harness.ops.chunks import Gradients, Terms, choose_chunk_size, sum_chunks
from harness.ops.distillation_loss import TermWeights
from harness.ops.extension import implementation
from harness.ops.precision import to_autocast_dtype, without_autocast
from harness.ops.projection import Projection, check_pair, make_projection

_OP = "linear_distillation_loss"


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
    """Return `distillation_loss` (forward KL) of ``hidden @ weight.T + bias``; the N×V logits never exist.

    Invariants: equal for every ``chunk_size`` up to rounding. Under autocast hidden states, weights and
    biases are taken in autocast's dtype, as ``F.linear`` takes them.

    Args:
        student_hidden: N×D of the student.
        student_weight: V×D of the student.
        teacher_hidden: N×D of the teacher, whose D may differ.
        teacher_weight: V×D of the teacher; with ``vocab_index`` it may have more rows.
        target: N labels (int64) in the student's vocabulary; needed if ``hard_weight`` is not zero.
        student_bias: V.
        teacher_bias: one number for each row of ``teacher_weight``.
        vocab_index: for each of the student's V tokens its row in the teacher's weight (int64): a student
            with a trimmed vocabulary is compared on the tokens that it kept. Without ``vocab_index`` the
            vocabularies must be equal.
        temperature: τ > 0.
        soft_weight: of τ² · KL(teacher ‖ student).
        hard_weight: of the cross-entropy.
        ignore_index: the label of rows without a label.
        soft_mask: N booleans, the rows of the divergence; all rows if ``None``.
        chunk_size: rows of logits held at once; chosen from their bytes if ``None``.

    Raises:
        HarnessError: an argument does not fit; names the argument.
    """
    convert = to_autocast_dtype
    student = make_projection(_OP, "student_", student_hidden, student_weight, student_bias, convert)
    teacher = make_projection(_OP, "teacher_", teacher_hidden, teacher_weight, teacher_bias, convert)
    check_pair(_OP, student, teacher)
    _check_vocabulary(student, teacher, vocab_index)
    weights = TermWeights(temperature, soft_weight, hard_weight)
    weights.check(_OP, target)
    if target is not None:
        checks.check_labels(_OP, target, student_hidden, student_weight.shape[0], ignore_index)
    checks.check_mask(_OP, "soft_mask", soft_mask, (student_hidden.shape[0],), student_hidden)
    chunk_size = choose_chunk_size(_OP, chunk_size, student, 2 if soft_weight else 1)
    teacher = teacher.map(Tensor.detach).select(vocab_index)
    if implementation(student_hidden.device) == "compiled":
        settings = (*weights, ignore_index, chunk_size, *student.needs_grad())
        loss: Tensor = linear_distillation_op(*student, *teacher, target, soft_mask, *settings)[0]
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
    return weights.combine(*rows, soft_mask, None if target is None else target != ignore_index).loss


def _check_vocabulary(student: Projection, teacher: Projection, vocab_index: Tensor | None) -> None:
    vocabulary, teacher_vocabulary = student.weight.shape[0], teacher.weight.shape[0]
    if vocab_index is not None:
        checks.check_exact(_OP, "vocab_index", vocab_index, torch.int64, (vocabulary,))
        checks.check_device(_OP, "vocab_index", vocab_index, student.hidden)
        checks.check_indices(_OP, "vocab_index", vocab_index, teacher_vocabulary)
    elif teacher_vocabulary != vocabulary:
        expected = f"{vocabulary} rows, or a vocab_index"
        raise checks.fault(_OP, "teacher_weight", expected, f"{teacher_vocabulary} rows")


@torch.library.custom_op("harness::linear_distillation_loss", mutates_args=())
def linear_distillation_op(  # noqa: PLR0917 — the schema of an op with autograd is positional
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
    terms = Terms(target_N, soft_mask_N, temperature, soft_weight, hard_weight, ignore_index)
    needs = (needs_hidden, needs_weight, needs_bias)
    with without_autocast(student.hidden), torch.no_grad():
        num_chunks = -(-len(student.hidden) // chunk_size)
        gradients = Gradients(student, needs, num_chunks)
        rows = sum_chunks(student, teacher, terms, chunk_size, gradients if any(needs) else None)
        weights = TermWeights(temperature, soft_weight, hard_weight)
        return weights.combine(*rows, soft_mask_N, terms.hard_mask()).loss, *gradients.get()


@linear_distillation_op.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden_ND, weight_VD = inputs[:2]
    needs_hidden, needs_weight, needs_bias = inputs[-3:]
    return (
        hidden_ND.new_empty((), dtype=reference.sum_dtype(hidden_ND)),
        hidden_ND.new_empty(hidden_ND.shape if needs_hidden else (0,)),
        weight_VD.new_empty(weight_VD.shape if needs_weight else (0,)),
        weight_VD.new_empty(weight_VD.shape[:1] if needs_bias else (0,)),
    )


register_forward_gradients(linear_distillation_op, _OP, {0: 1, 1: 2, 2: 3})
