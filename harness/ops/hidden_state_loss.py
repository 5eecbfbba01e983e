"""The loss between two models' hidden states, all compared layers in one call.

Shapes: **N** rows (every leading dimension), **D** hidden of the student, **T** hidden of the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops import checks, reference
from harness.ops.autograd import refuse_double_backward, scale_gradient
from harness.ops.extension import implementation, register_kernel
from harness.ops.precision import to_autocast_dtype

_OP = "hidden_state_loss"
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
    """Return the weighted sum over layers of the mean distance of hidden states.

    A position's distance is 1 − cos of the two vectors (DistilBERT's, Sanh et al. 2019) or their mean squared
    difference (TinyBERT's, Jiao et al. 2020, equation 8).

    Invariants: positions outside the mask do not count and get no gradient; the mean over no position is
    zero; no gradient flows to the teacher.

    Args:
        student_hiddens: a tensor for each compared layer, any leading dimensions × D.
        teacher_hiddens: a tensor for each compared layer, same leading dimensions × T.
        mask: booleans of the leading dimensions, true where a position counts; all positions if ``None``.
        kind: ``cosine`` or ``mse``.
        projections: for each layer a T×D matrix that widens the student's states (trained with them), or
            ``None``; needed where T ≠ D.
        weights: of each layer; equal weights that sum to one if ``None``.

    Raises:
        HarnessError: an argument does not fit; names the argument.
    """
    num_layers = _check_layers(kind, student_hiddens, teacher_hiddens, projections, weights)
    weights = [1.0 / num_layers] * num_layers if weights is None else list(weights)
    projections = [None] * num_layers if projections is None else projections
    pairs = [
        _flatten_layer(layer, *tensors)
        for layer, tensors in enumerate(zip(student_hiddens, teacher_hiddens, projections, strict=True))
    ]
    students, teachers = [student for student, _ in pairs], [teacher for _, teacher in pairs]
    checks.check_mask(_OP, "mask", mask, tuple(student_hiddens[0].shape[:-1]), student_hiddens[0])
    mask = None if mask is None else mask.reshape(-1)
    if implementation(students[0].device) == "compiled":
        needs_grad = torch.is_grad_enabled() and any(student.requires_grad for student in students)
        outputs = torch.ops.harness.hidden_state_loss(students, teachers, mask, kind, weights, needs_grad)
        loss: Tensor = outputs[0]
        return loss
    return reference.hidden_state_loss(students, teachers, mask, kind, weights)


def _check_layers(
    kind: str,
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    projections: Sequence[Tensor | None] | None,
    weights: Sequence[float] | None,
) -> int:
    """Return the number of compared layers, whose students' states and weights are checked."""
    checks.check_choice(_OP, "kind", kind, KINDS)
    if not isinstance(students, list | tuple) or len(students) == 0:
        raise checks.fault(_OP, "student_hiddens", "a list of one layer or more", type(students).__name__)
    layers = {"teacher_hiddens": teachers, "projections": projections, "weights": weights}
    for name, given in layers.items():
        if given is None and name != "teacher_hiddens":
            continue
        if not isinstance(given, list | tuple):
            raise checks.fault(_OP, name, f"a list of {len(students)} layers", type(given).__name__)
        if len(given) != len(students):
            raise checks.fault(_OP, name, f"{len(students)} layers, as student_hiddens has", len(given))
    for layer, weight in enumerate(weights or ()):
        checks.check_number(_OP, f"weights[{layer}]", weight, 0)
    for layer, student in enumerate(students):
        checks.check_tensor(_OP, f"student_hiddens[{layer}]", student)
        checks.check_float(_OP, f"student_hiddens[{layer}]", student, max(student.dim(), 2))
        checks.check_width(_OP, f"student_hiddens[{layer}]", student)
        leading = (*students[0].shape[:-1], student.shape[-1])
        checks.check_like(_OP, f"student_hiddens[{layer}]", student, leading, students[0])
    return len(students)


def _flatten_layer(
    layer: int, student: Tensor, teacher: Tensor, projection: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return one layer's states as two N×T tensors, checked."""
    checks.check_float(_OP, f"teacher_hiddens[{layer}]", teacher, student.dim())
    width = teacher.shape[-1]
    checks.check_like(_OP, f"teacher_hiddens[{layer}]", teacher, (*student.shape[:-1], width), student)
    checks.check_width(_OP, f"teacher_hiddens[{layer}]", teacher)
    if projection is not None:
        checks.check_tensor(_OP, f"projections[{layer}]", projection)
        lowered = to_autocast_dtype(student)
        projection_TD = to_autocast_dtype(projection)
        checks.check_like(_OP, f"projections[{layer}]", projection_TD, (width, student.shape[-1]), lowered)
        student = functional.linear(lowered, projection_TD).to(teacher.dtype)
    elif student.shape[-1] != width:
        expected = f"width {width}, or a projection"
        raise checks.fault(_OP, f"student_hiddens[{layer}]", expected, f"width {student.shape[-1]}")
    return student.reshape(-1, width), teacher.detach().reshape(-1, width)


def _fake(students: Sequence[Tensor], *settings: Any) -> tuple[Tensor, list[Tensor]]:
    loss = students[0].new_empty((), dtype=reference.sum_dtype(students[0]))
    return loss, [student.new_empty(student.shape) for student in students] if settings[-1] else []


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    ctx.num_layers = len(inputs[0])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1])
    ctx.save_for_backward(*output[1])


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
    refuse_double_backward(_OP)
    no_gradients = [None] * ctx.num_layers
    if grad is None:
        return no_gradients, no_gradients, None, None, None, None
    gradients = [scale_gradient(gradient, grad) for gradient in ctx.saved_tensors]
    return gradients, no_gradients, None, None, None, None


register_kernel(_OP, _fake, backward=_backward, setup_context=_setup_context)
