"""The loss between two models' hidden states, all compared layers in one call.

Shapes: **N** rows (every leading dimension), **D** hidden of the student, **T** hidden of the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops import checks, reference
from harness.ops.precision import lower

KINDS = ("cosine", "mse")
Kind = Literal["cosine", "mse"]


def hidden_state_loss(
    student_hiddens: Sequence[Tensor],
    teacher_hiddens: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    kind: Kind,
    projections: Sequence[Tensor | None] | None = None,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Gives the weighted sum over layers of the mean distance of hidden states.

    A position's distance is 1 − cos of the two vectors (DistilBERT's, Sanh et al. 2019) or their mean squared
    difference (TinyBERT's, Jiao et al. 2020, equation 8).

    Holds: positions outside the mask do not enter and get no gradient; the mean over no position is zero; no
    gradient flows to the teacher.

    Args:
        student_hiddens: a tensor for each compared layer, any leading dimensions × D.
        teacher_hiddens: as many, same leading dimensions × T.
        mask: booleans of the leading dimensions, true where a position counts; all if none.
        kind: ``cosine`` or ``mse``.
        projections: for each layer a T×D matrix that widens the student's states (trained with it), or ``None``;
            needed where T ≠ D.
        weights: of each layer; all layers count alike and sum to one if none.

    Raises:
        HarnessError: an argument does not fit; names it.
    """
    op = "hidden_state_loss"
    checks.check_choice(op, "kind", kind, KINDS)
    num_layers = len(student_hiddens)
    if num_layers == 0:
        raise checks.fault(op, "student_hiddens", "one layer or more", "none")
    weights = [1.0 / num_layers] * num_layers if weights is None else weights
    projections = [None] * num_layers if projections is None else projections
    for name, given in (
        ("teacher_hiddens", teacher_hiddens),
        ("projections", projections),
        ("weights", weights),
    ):
        if len(given) != num_layers:
            raise checks.fault(op, name, f"{num_layers} layers, as student_hiddens has", len(given))
    for layer, weight in enumerate(weights):
        checks.check_weight(op, f"weights[{layer}]", weight)
    students, teachers = [], []
    for layer, (student, teacher, projection) in enumerate(
        zip(student_hiddens, teacher_hiddens, projections, strict=True)
    ):
        student_ND, teacher_ND = _pair(op, layer, student, teacher, projection)
        students.append(student_ND)
        teachers.append(teacher_ND)
    leading = tuple(student_hiddens[0].shape[:-1])
    if mask is not None:
        checks.check_exact(op, "mask", mask, torch.bool, leading)
        checks.check_device(op, "mask", mask, student_hiddens[0])
        mask = mask.reshape(-1)
    return reference.hidden_state_loss(students, teachers, mask, kind, weights)


def _pair(
    op: str, layer: int, student: Tensor, teacher: Tensor, projection: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gives one layer's states as two N×T tensors, checked."""
    checks.check_float(op, f"student_hiddens[{layer}]", student, student.dim() or 1)
    checks.check_float(op, f"teacher_hiddens[{layer}]", teacher, student.dim())
    width = teacher.shape[-1]
    checks.check_like(op, f"teacher_hiddens[{layer}]", teacher, (*student.shape[:-1], width), student)
    if projection is not None:
        projection_TD = projection
        student_D, projection_TD = lower(student, projection)
        checks.check_like(op, f"projections[{layer}]", projection_TD, (width, student.shape[-1]), student_D)
        student = functional.linear(student_D, projection_TD).to(teacher.dtype)
    elif student.shape[-1] != width:
        raise checks.fault(
            op, f"student_hiddens[{layer}]", f"width {width}, or a projection", student.shape[-1]
        )
    return student.reshape(-1, width), teacher.detach().reshape(-1, width)
