"""Cross-entropy of a projection onto the vocabulary, without the logits of all rows.

The kernels are those of `linear_distillation_loss`, with its hard term alone.

Shapes: **N** rows, **V** vocabulary, **D** hidden.
"""

from __future__ import annotations

from torch import Tensor

from harness.ops import checks, reference
from harness.ops.chunks import choose_chunk_size
from harness.ops.extension import implementation
from harness.ops.linear_distillation_loss import linear_distillation_op
from harness.ops.precision import to_autocast_dtype
from harness.ops.projection import check_projection, make_projection

_OP = "linear_cross_entropy"
_FEW_LOGITS = 1 << 17  # up to here the reference is faster: docs/kernels.md, "Small shapes"


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean cross-entropy of ``hidden @ weight.T + bias``; the N×V logits never exist.

    Invariants: equal for every ``chunk_size`` up to rounding; rows whose label is ``ignore_index`` get no
    gradient; zero if every label is ignored. Under autocast the tensors are taken in autocast's dtype, as
    ``F.linear`` takes them.

    Args:
        hidden: N×D.
        weight: V×D.
        target: N labels (int64), ``ignore_index`` where there is none.
        bias: V.
        ignore_index: the label of rows without a label.
        chunk_size: rows of logits held at once; chosen from their bytes if ``None``.

    Raises:
        HarnessError: an argument does not fit; names the argument.
    """
    student = make_projection(_OP, "", hidden, weight, bias, to_autocast_dtype)
    check_projection(_OP, "", student, student.hidden)
    checks.check_labels(_OP, target, hidden, weight.shape[0], ignore_index)
    rows: int | None = choose_chunk_size(_OP, chunk_size, student, 1)
    few = hidden.shape[0] * weight.shape[0] <= _FEW_LOGITS
    if implementation(hidden.device) == "compiled" and not few:
        settings = (1.0, 0.0, 1.0, ignore_index, rows, *student.needs_grad())
        loss: Tensor = linear_distillation_op(*student, None, None, None, target, None, *settings)[0]
        return loss
    rows = None if few else rows
    hard_N = reference.linear_cross_entropy_rows(student, target, ignore_index=ignore_index, chunk_size=rows)
    return reference.mean_rows(hard_N, target != ignore_index)
