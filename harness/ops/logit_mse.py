"""The mean squared difference of two models' logits, at a cost that does not depend on N·V.

With dX = Xs − Xt and dW = Ws − Wt (the narrower hidden size filled up with zeros; a bias is one more column
of W and a 1 in X) the logits differ by Xs·dWᵀ + dX·Wtᵀ. Its squared norm needs only the D×D products
G1 = dWᵀdW, G2 = dWᵀWt and G3 = WtᵀWt, of which the last is a constant of the teacher:

    N·V·L = ⟨Xs, A⟩ + ⟨dX, B⟩,  A = Xs·G1 + dX·G2ᵀ,  B = Xs·G2 + dX·G3
    ∂L/∂Xs = 2/(NV)·(A + B),  ∂L/∂Ws = 2/(NV)·(dW·(XsᵀXs) + Wt·(dXᵀXs))

Exact; where states and weights are near the teacher's own it is more precise than the difference of the
logits, since what is small is formed first; where the logits alone are near, as in a turned basis, less so.
The columns filled up with zeros are never formed: only the blocks of G1 and G2 that meet Xs are.

Shapes: **N** rows, **V** vocabulary, **D** hidden of the student, **T** hidden of the teacher.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops import checks
from harness.ops.precision import lift, without_autocast
from harness.ops.projection import Projection, check_projections
from harness.ops.reference import blank, widen
from harness.ops.slopes import register_slopes


def teacher_gram(teacher_weight: Tensor) -> Tensor:
    """Gives WᵀW (T×T, float32 or float64), to be computed once and handed to `linear_mse_logits_loss`."""
    checks.check_float("teacher_gram", "teacher_weight", teacher_weight, 2)
    weight_VT: Tensor = widen(teacher_weight.detach())
    return weight_VT.T @ weight_VT


def linear_mse_logits_loss(
    student_hidden: Tensor,
    student_weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    row_mask: Tensor | None = None,
    teacher_gram: Tensor | None = None,
) -> Tensor:
    """Gives the mean over rows and vocabulary of (student logit − teacher logit)², without forming a logit.

    Holds: equals ``F.mse_loss`` of the two sets of logits; no gradient flows to the teacher; zero if no row
    counts. Computed in float32 (float64 for float64), also under autocast.

    Args:
        student_hidden: N×D.
        student_weight: V×D.
        teacher_hidden: N×T; T may differ from D.
        teacher_weight: V×T.
        student_bias: V.
        teacher_bias: V.
        row_mask: N booleans, the rows that count; all if none.
        teacher_gram: what `teacher_gram` gives for ``teacher_weight``; computed anew if none.

    Raises:
        HarnessError: an argument does not fit; names it.
    """
    op = "linear_mse_logits_loss"
    student = Projection(student_hidden, student_weight, student_bias).each(lift)
    teacher = Projection(teacher_hidden, teacher_weight, teacher_bias).each(lift)
    check_projections(op, student, teacher)
    if row_mask is not None:
        checks.check_exact(op, "row_mask", row_mask, torch.bool, (student_hidden.shape[0],))
        checks.check_device(op, "row_mask", row_mask, student_hidden)
    student, teacher = student.each(widen), teacher.each(widen).each(Tensor.detach)
    if teacher_gram is not None:
        width = teacher_weight.shape[1]
        checks.check_like(op, "teacher_gram", teacher_gram, (width, width), student.hidden)
    outputs = _linear_mse_logits_loss(*student, *teacher, row_mask, teacher_gram, *student.needs())
    loss: Tensor = outputs[0]
    return loss


class _Difference(NamedTuple):
    """What the logits differ by: xs·dwᵀ + dx·wtᵀ + 1·dbᵀ, rows left out being zero; and 1/(N·V).

    Attributes:
        xs: N×D.
        dx: N×T.
        dw: V×D.
        wt: V×T.
        db: V, or ``None`` without biases.
        num_rows: how many rows count.
        scale: 1/(N·V).
    """

    xs: Tensor
    dx: Tensor
    dw: Tensor
    wt: Tensor
    db: Tensor | None
    num_rows: Tensor
    scale: Tensor


def _fit(tensor: Tensor, width: int) -> Tensor:
    """Gives the first columns of the tensor, or zeros after the last, so that it is ``width`` wide."""
    missing = width - tensor.shape[-1]
    return tensor[..., :width] if missing <= 0 else functional.pad(tensor, (0, missing))


def _bias_difference(student_V: Tensor | None, teacher_V: Tensor | None) -> Tensor | None:
    if teacher_V is None:
        return student_V
    return -teacher_V if student_V is None else student_V - teacher_V


def _difference(student: Projection, teacher: Projection, mask_N: Tensor | None) -> _Difference:
    xs_ND, xt_NT = blank(student.hidden, mask_N), blank(teacher.hidden, mask_N)
    ws_VD, wt_VT = student.weight, teacher.weight
    num_rows = xs_ND.new_full((), len(xs_ND)) if mask_N is None else mask_N.sum().to(xs_ND.dtype)
    return _Difference(
        xs_ND,
        _fit(xs_ND, wt_VT.shape[1]) - xt_NT,
        ws_VD - _fit(wt_VT, ws_VD.shape[1]),
        wt_VT,
        _bias_difference(student.bias, teacher.bias),
        num_rows,
        1.0 / (num_rows.clamp(min=1) * len(ws_VD)),
    )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Gives the inner product summed in float64: the terms nearly cancel when the student is near."""
    return (left * right).sum(dtype=torch.float64)


def _loss_and_slope(part: _Difference, gram_TT: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the loss and its gradient by the student's hidden state; rounding takes no loss below zero."""
    cross_DT = part.dw.T @ part.wt
    a_ND = (part.xs @ (part.dw.T @ part.dw)).addmm_(part.dx, cross_DT.T)
    b_NT = (part.xs @ cross_DT).addmm_(part.dx, gram_TT)
    total = _dot(part.xs, a_ND) + _dot(part.dx, b_NT)
    slope_ND = a_ND + _fit(b_NT, a_ND.shape[1])
    if part.db is not None:
        u_D, w_T = part.dw.T @ part.db, part.wt.T @ part.db
        total = total + 2 * (_dot(part.xs.sum(0), u_D) + _dot(part.dx.sum(0), w_T))
        total = total + part.num_rows * _dot(part.db, part.db)
        slope_ND += u_D + _fit(w_T, len(u_D))
    return (total * part.scale).clamp(min=0).to(slope_ND.dtype), slope_ND.mul_(2 * part.scale)


def _by_weight(part: _Difference) -> Tensor:
    doubled = 2 * part.scale
    own_DD, cross_TD = part.xs.T @ part.xs, part.dx.T @ part.xs
    slope_VD = (part.dw @ (own_DD * doubled)).addmm_(part.wt, cross_TD * doubled)
    return slope_VD if part.db is None else slope_VD.addr_(part.db, part.xs.sum(0) * doubled)


def _by_bias(part: _Difference) -> Tensor:
    assert part.db is not None
    slope_V = part.dw @ part.xs.sum(0) + part.wt @ part.dx.sum(0) + part.num_rows * part.db
    return slope_V * (2 * part.scale)


@torch.library.custom_op("harness::linear_mse_logits_loss", mutates_args=())
def _linear_mse_logits_loss(  # noqa: PLR0917 — the schema of an op with autograd is positional
    xs_ND: Tensor,
    ws_VD: Tensor,
    bs_V: Tensor | None,
    xt_NT: Tensor,
    wt_VT: Tensor,
    bt_V: Tensor | None,
    mask_N: Tensor | None,
    gram_TT: Tensor | None,
    needs_hidden: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gives the loss and its gradients by hidden state, weight and bias; one not needed is empty."""
    with without_autocast(xs_ND), torch.no_grad():
        part = _difference(Projection(xs_ND, ws_VD, bs_V), Projection(xt_NT, wt_VT, bt_V), mask_N)
        loss, slope_ND = _loss_and_slope(part, wt_VT.T @ wt_VT if gram_TT is None else gram_TT)
        return (
            loss,
            blank(slope_ND, mask_N) if needs_hidden else ws_VD.new_empty(0),
            _by_weight(part) if needs_weight else ws_VD.new_empty(0),
            _by_bias(part) if needs_bias else ws_VD.new_empty(0),
        )


@_linear_mse_logits_loss.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    xs_ND, ws_VD = inputs[:2]
    needs_hidden, needs_weight, needs_bias = inputs[-3:]
    return (
        xs_ND.new_empty(()),
        xs_ND.new_empty(xs_ND.shape if needs_hidden else (0,)),
        ws_VD.new_empty(ws_VD.shape if needs_weight else (0,)),
        ws_VD.new_empty(ws_VD.shape[:1] if needs_bias else (0,)),
    )


register_slopes(_linear_mse_logits_loss, "linear_mse_logits_loss", {0: 1, 1: 2, 2: 3})
