"""The mean squared difference of two models' logits, at a cost that does not depend on N·V.

With dX = Xs − Xt and dW = Ws − Wt (the narrower hidden size filled up with zeros; a bias is one more column of W and a 1
in X) the logits differ by Xs·dWᵀ + dX·Wtᵀ. Its squared norm needs only the D×D products G1 = dWᵀdW, G2 = dWᵀWt and
G3 = WtᵀWt, of which the last is a constant of the teacher:

    N·V·L = ⟨Xs, A⟩ + ⟨dX, B⟩,  A = Xs·G1 + dX·G2ᵀ,  B = Xs·G2 + dX·G3
    ∂L/∂Xs = 2/(NV)·(A + B),  ∂L/∂Ws = 2/(NV)·(dW·(XsᵀXs) + Wt·(dXᵀXs))

Exact; near the teacher it is more precise than the difference of the logits, since what is small is formed first.
The columns filled up with zeros are never formed: only the blocks of G1 and G2 that meet Xs are.

Shapes: **N** rows, **V** vocabulary, **D** hidden of the student, **T** hidden of the teacher, **K** the larger of both.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops import checks
from harness.ops.distillation import check_projections
from harness.ops.precision import raise_to_float
from harness.ops.reference import blank, widen
from harness.ops.slopes import register_slopes


def teacher_gram(teacher_weight: Tensor) -> Tensor:
    """Gives WᵀW (T×T, float32 or float64), to be computed once and handed to `linear_mse_logits_loss`."""
    checks.check_float("teacher_gram", "teacher_weight", teacher_weight, 2)
    weight_VT = widen(teacher_weight.detach())
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

    Holds: equals ``F.mse_loss`` of the two sets of logits; no gradient flows to the teacher; zero if no row counts.
    Computed in float32 (float64 for float64), also under autocast.

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
    student = cast(
        tuple[Tensor, Tensor, Tensor | None], raise_to_float(student_hidden, student_weight, student_bias)
    )
    teacher = cast(
        tuple[Tensor, Tensor, Tensor | None], raise_to_float(teacher_hidden, teacher_weight, teacher_bias)
    )
    check_projections(op, student, teacher)
    if row_mask is not None:
        checks.check_exact(op, "row_mask", row_mask, torch.bool, (student_hidden.shape[0],))
        checks.check_device(op, "row_mask", row_mask, student_hidden)
    width = teacher_weight.shape[1]
    if teacher_gram is not None:
        checks.check_like(op, "teacher_gram", teacher_gram, (width, width), widen(student[0].detach()[:0]))
    xs_ND, ws_VD, bs_V = (None if one is None else widen(one) for one in student)
    xt_NT, wt_VT, bt_V = (None if one is None else widen(one).detach() for one in teacher)
    grad = torch.is_grad_enabled()
    return _linear_mse_logits_loss(
        xs_ND,
        ws_VD,
        bs_V,
        xt_NT,
        wt_VT,
        bt_V,
        row_mask,
        teacher_gram,
        grad and xs_ND.requires_grad,
        grad and ws_VD.requires_grad,
        grad and bs_V is not None and bs_V.requires_grad,
    )[0]


class _Difference(NamedTuple):
    """What the logits differ by: xs·dwᵀ + dx·wtᵀ + 1·dbᵀ, rows left out being zero; and 1/(N·V)."""

    xs_ND: Tensor
    dx_NT: Tensor
    dw_VD: Tensor
    wt_VT: Tensor
    db_V: Tensor | None
    num_rows: Tensor
    scale: Tensor


def _fit(tensor: Tensor, width: int) -> Tensor:
    """Gives the first columns of the tensor, or zeros after the last, so that it is ``width`` wide."""
    missing = width - tensor.shape[-1]
    return tensor[..., :width] if missing <= 0 else functional.pad(tensor, (0, missing))


def _difference(
    student: tuple[Tensor, Tensor, Tensor | None],
    teacher: tuple[Tensor, Tensor, Tensor | None],
    mask_N: Tensor | None,
) -> _Difference:
    xs_ND, xt_NT = blank(student[0], mask_N), blank(teacher[0], mask_N)
    ws_VD, wt_VT = student[1], teacher[1]
    bias_s_V, bias_t_V = student[2], teacher[2]
    num_rows = xs_ND.new_full((), len(xs_ND)) if mask_N is None else mask_N.sum().to(xs_ND.dtype)
    db_V = bias_s_V if bias_t_V is None else -bias_t_V if bias_s_V is None else bias_s_V - bias_t_V
    return _Difference(
        xs_ND,
        _fit(xs_ND, wt_VT.shape[1]) - xt_NT,
        ws_VD - _fit(wt_VT, ws_VD.shape[1]),
        wt_VT,
        db_V,
        num_rows,
        1.0 / (num_rows.clamp(min=1) * max(len(ws_VD), 1)),
    )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Gives the inner product summed in float64: the terms nearly cancel when the student is near."""
    return (left * right).sum(dtype=torch.float64)


def _loss_and_slope(part: _Difference, gram_TT: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the loss and its gradient by the student's hidden state."""
    cross_DT = part.dw_VD.T @ part.wt_VT
    a_ND = (part.xs_ND @ (part.dw_VD.T @ part.dw_VD)).addmm_(part.dx_NT, cross_DT.T)
    b_NT = (part.xs_ND @ cross_DT).addmm_(part.dx_NT, gram_TT)
    total = _dot(part.xs_ND, a_ND) + _dot(part.dx_NT, b_NT)
    slope_ND = a_ND + _fit(b_NT, a_ND.shape[1])
    if part.db_V is not None:
        u_D, w_T = part.dw_VD.T @ part.db_V, part.wt_VT.T @ part.db_V
        total = total + 2 * (_dot(part.xs_ND.sum(0), u_D) + _dot(part.dx_NT.sum(0), w_T))
        total = total + part.num_rows * _dot(part.db_V, part.db_V)
        slope_ND += u_D + _fit(w_T, len(u_D))
    return (total * part.scale).to(slope_ND.dtype), slope_ND.mul_(2 * part.scale)


def _by_weight(part: _Difference) -> Tensor:
    doubled = 2 * part.scale
    own_DD, cross_TD = part.xs_ND.T @ part.xs_ND, part.dx_NT.T @ part.xs_ND
    slope_VD = (part.dw_VD @ (own_DD * doubled)).addmm_(part.wt_VT, cross_TD * doubled)
    return slope_VD if part.db_V is None else slope_VD.addr_(part.db_V, part.xs_ND.sum(0) * doubled)


def _by_bias(part: _Difference) -> Tensor:
    assert part.db_V is not None
    slope_V = part.dw_VD @ part.xs_ND.sum(0) + part.wt_VT @ part.dx_NT.sum(0) + part.num_rows * part.db_V
    return slope_V * (2 * part.scale)


@torch.library.custom_op("harness::linear_mse_logits_loss", mutates_args=())
def _linear_mse_logits_loss(
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
    with torch.autocast(xs_ND.device.type, enabled=False), torch.no_grad():
        part = _difference((xs_ND, ws_VD, bs_V), (xt_NT, wt_VT, bt_V), mask_N)
        loss, slope_ND = _loss_and_slope(part, wt_VT.T @ wt_VT if gram_TT is None else gram_TT)
        if needs_hidden and mask_N is not None:
            slope_ND = blank(slope_ND, mask_N)
        nothing = ws_VD.new_empty(0)
        return (
            loss,
            slope_ND if needs_hidden else nothing,
            _by_weight(part) if needs_weight else nothing.clone(),
            _by_bias(part) if needs_bias else nothing.clone(),
        )


@_linear_mse_logits_loss.register_fake
def _(
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
    return (
        xs_ND.new_empty(()),
        xs_ND.new_empty(xs_ND.shape if needs_hidden else 0),
        ws_VD.new_empty(ws_VD.shape if needs_weight else 0),
        ws_VD.new_empty(len(ws_VD) if needs_bias else 0),
    )


register_slopes(_linear_mse_logits_loss, "linear_mse_logits_loss", {0: 1, 1: 2, 2: 3})
