"""The mean squared difference of two models' logits, at a cost that does not depend on N·V.

With dX = Xs − Xt and dW = Ws − Wt (the narrower hidden size padded with zeros; a bias is one more column of
W and a 1 in X) the logits differ by Xs·dWᵀ + dX·Wtᵀ. The squared norm of that needs only the D×D products
G1 = dWᵀdW, G2 = dWᵀWt and G3 = WtᵀWt, of which the last is a constant of the teacher:

    N·V·L = ⟨Xs, A⟩ + ⟨dX, B⟩,  A = Xs·G1 + dX·G2ᵀ,  B = Xs·G2 + dX·G3
    ∂L/∂Xs = 2/(NV)·(A + B),  ∂L/∂Ws = 2/(NV)·(dW·(XsᵀXs) + Wt·(dXᵀXs))

Exact. Where states and weights are near the teacher's own it is more precise than the difference of the
logits, since the small differences are formed first; where only the logits are near, as in a rotated basis,
it is less precise. The padding is never formed: only the blocks of G1 and G2 that multiply Xs are.

Shapes: **N** rows, **V** vocabulary, **D** hidden of the student, **T** hidden of the teacher.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops import checks
from harness.ops.autograd import register_forward_gradients
from harness.ops.precision import to_loss_dtype, without_autocast
from harness.ops.projection import Projection, check_pair, make_projection
from harness.ops.reference import widen, zero_rows

_OP = "linear_mse_logits_loss"


class TeacherGram(NamedTuple):
    """WᵀW of a teacher's vocabulary projection W, and some rows of W, which tell W from other weights.

    Attributes:
        product: T×T, float32 or float64.
        shape: V and T.
        rows: at most 16 rows of W, evenly spaced.
    """

    product: Tensor
    shape: tuple[int, ...]
    rows: Tensor

    def check(self, op: str, weight_VT: Tensor) -> None:
        """Check that W is this weight; its values are not read while ``torch.compile`` traces."""
        expected = "teacher_gram(teacher_weight) of this teacher_weight"
        if self.shape != tuple(weight_VT.shape):
            shape = "×".join(map(str, self.shape))
            raise checks.fault(op, "teacher_gram", expected, f"that of a weight of {shape}")
        if self.rows.dtype != weight_VT.dtype or self.rows.device != weight_VT.device:
            got = f"that of a weight of {self.rows.dtype} on {self.rows.device}".replace("torch.", "")
            raise checks.fault(op, "teacher_gram", expected, got)
        if torch.compiler.is_compiling():
            return
        if not torch.allclose(self.rows, _sample_rows(weight_VT), rtol=0.0, atol=0.0, equal_nan=True):
            raise checks.fault(op, "teacher_gram", expected, "that of other values")


def _sample_rows(weight_VT: Tensor) -> Tensor:
    last = len(weight_VT) - 1
    return weight_VT.detach()[[last * i // 15 for i in range(16)] if last >= 15 else list(range(last + 1))]


def teacher_gram(teacher_weight: Tensor) -> TeacherGram:
    """Return WᵀW, which `linear_mse_logits_loss` can reuse at every step as long as W does not change."""
    checks.check_float("teacher_gram", "teacher_weight", teacher_weight, 2)
    checks.check_width("teacher_gram", "teacher_weight", teacher_weight)
    weight_VT: Tensor = widen(teacher_weight.detach())
    return TeacherGram(weight_VT.T @ weight_VT, tuple(weight_VT.shape), _sample_rows(teacher_weight))


def linear_mse_logits_loss(
    student_hidden: Tensor,
    student_weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    row_mask: Tensor | None = None,
    teacher_gram: TeacherGram | None = None,
) -> Tensor:
    """Return the mean over rows and vocabulary of (student logit − teacher logit)²; no logit is formed.

    Invariants: equals ``F.mse_loss`` of the two sets of logits; no gradient flows to the teacher; zero if no
    row counts. Computed in float32 (float64 for float64), also under autocast.

    Args:
        student_hidden: N×D.
        student_weight: V×D.
        teacher_hidden: N×T; T may differ from D.
        teacher_weight: V×T.
        student_bias: V.
        teacher_bias: V.
        row_mask: N booleans, the rows that count; all rows if ``None``.
        teacher_gram: `teacher_gram` of ``teacher_weight``; computed at each call if ``None``.

    Raises:
        HarnessError: an argument does not fit; names the argument.
    """
    convert = to_loss_dtype
    student = make_projection(_OP, "student_", student_hidden, student_weight, student_bias, convert)
    teacher = make_projection(_OP, "teacher_", teacher_hidden, teacher_weight, teacher_bias, convert)
    check_pair(_OP, student, teacher)
    rows, teacher_rows = student_weight.shape[0], teacher_weight.shape[0]
    if rows != teacher_rows:
        raise checks.fault(
            _OP, "teacher_weight", f"{rows} rows, as student_weight has", f"{teacher_rows} rows"
        )
    checks.check_mask(_OP, "row_mask", row_mask, (student_hidden.shape[0],), student_hidden)
    student, teacher = student.map(widen), teacher.map(widen).map(Tensor.detach)
    if teacher_gram is not None:
        if not isinstance(teacher_gram, TeacherGram):
            raise checks.fault(
                _OP, "teacher_gram", "what ops.teacher_gram returns", type(teacher_gram).__name__
            )
        teacher_gram.check(_OP, teacher_weight)
    gram_TT = None if teacher_gram is None else teacher_gram.product
    outputs = _linear_mse_logits_loss(*student, *teacher, row_mask, gram_TT, *student.needs_grad())
    loss: Tensor = outputs[0]
    return loss


class _Difference(NamedTuple):
    """The difference of the logits, xs·dwᵀ + dx·wtᵀ + 1·dbᵀ with masked rows zero, and 1/(N·V).

    Attributes:
        xs: N×D.
        dx: N×T.
        dw: V×D.
        wt: V×T.
        db: V, or ``None`` without biases.
        num_rows: the number of rows that count.
        scale: 1/(N·V).
    """

    xs: Tensor
    dx: Tensor
    dw: Tensor
    wt: Tensor
    db: Tensor | None
    num_rows: Tensor
    scale: Tensor


def _resize(tensor: Tensor, width: int) -> Tensor:
    """Return the tensor cut or padded with zeros to ``width`` columns."""
    missing = width - tensor.shape[-1]
    return tensor[..., :width] if missing <= 0 else functional.pad(tensor, (0, missing))


def _bias_difference(student_V: Tensor | None, teacher_V: Tensor | None) -> Tensor | None:
    if teacher_V is None:
        return student_V
    return -teacher_V if student_V is None else student_V - teacher_V


def _difference(student: Projection, teacher: Projection, mask_N: Tensor | None) -> _Difference:
    xs_ND, xt_NT = zero_rows(student.hidden, mask_N), zero_rows(teacher.hidden, mask_N)
    ws_VD, wt_VT = student.weight, teacher.weight
    num_rows = xs_ND.new_full((), len(xs_ND)) if mask_N is None else mask_N.sum().to(xs_ND.dtype)
    return _Difference(
        xs_ND,
        _resize(xs_ND, wt_VT.shape[1]) - xt_NT,
        ws_VD - _resize(wt_VT, ws_VD.shape[1]),
        wt_VT,
        _bias_difference(student.bias, teacher.bias),
        num_rows,
        1.0 / (num_rows.clamp(min=1) * len(ws_VD)),
    )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Return the inner product summed in float64: the terms nearly cancel where the student is near."""
    return (left * right).sum(dtype=torch.float64)


def _loss_and_gradient(difference: _Difference, gram_TT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, never below zero, and its gradient by the student's hidden state."""
    cross_DT = difference.dw.T @ difference.wt
    a_ND = (difference.xs @ (difference.dw.T @ difference.dw)).addmm_(difference.dx, cross_DT.T)
    b_NT = (difference.xs @ cross_DT).addmm_(difference.dx, gram_TT)
    total = _dot(difference.xs, a_ND) + _dot(difference.dx, b_NT)
    grad_ND = a_ND + _resize(b_NT, a_ND.shape[1])
    if difference.db is not None:
        u_D, w_T = difference.dw.T @ difference.db, difference.wt.T @ difference.db
        total = total + 2 * (_dot(difference.xs.sum(0), u_D) + _dot(difference.dx.sum(0), w_T))
        total = total + difference.num_rows * _dot(difference.db, difference.db)
        grad_ND += u_D + _resize(w_T, len(u_D))
    return (total * difference.scale).clamp(min=0).to(grad_ND.dtype), grad_ND.mul_(2 * difference.scale)


def _gradient_by_weight(difference: _Difference) -> Tensor:
    doubled = 2 * difference.scale
    own_DD, cross_TD = difference.xs.T @ difference.xs, difference.dx.T @ difference.xs
    grad_VD = (difference.dw @ (own_DD * doubled)).addmm_(difference.wt, cross_TD * doubled)
    return grad_VD if difference.db is None else grad_VD.addr_(difference.db, difference.xs.sum(0) * doubled)


def _gradient_by_bias(difference: _Difference) -> Tensor:
    assert difference.db is not None
    grad_V = (
        difference.dw @ difference.xs.sum(0)
        + difference.wt @ difference.dx.sum(0)
        + difference.num_rows * difference.db
    )
    return grad_V * (2 * difference.scale)


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
    """Return the loss and its gradients by hidden state, weight and bias; a gradient not needed is empty."""
    with without_autocast(xs_ND), torch.no_grad():
        difference = _difference(Projection(xs_ND, ws_VD, bs_V), Projection(xt_NT, wt_VT, bt_V), mask_N)
        loss, grad_ND = _loss_and_gradient(difference, wt_VT.T @ wt_VT if gram_TT is None else gram_TT)
        return (
            loss,
            zero_rows(grad_ND, mask_N) if needs_hidden else ws_VD.new_empty(0),
            _gradient_by_weight(difference) if needs_weight else ws_VD.new_empty(0),
            _gradient_by_bias(difference) if needs_bias else ws_VD.new_empty(0),
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


register_forward_gradients(_linear_mse_logits_loss, _OP, {0: 1, 1: 2, 2: 3})
