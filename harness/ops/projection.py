"""A hidden state and its projection onto the vocabulary, for ops that do not form the logits.

Shapes: **N** rows, **V** vocabulary, **D** hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from harness.ops import checks


class Projection(NamedTuple):
    """The operands of ``hidden @ weight.T + bias``.

    Attributes:
        hidden: N×D.
        weight: V×D.
        bias: V, or ``None``.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None

    def map(self, change: Callable[[Tensor], Tensor]) -> Projection:
        """Return the projection with every tensor changed."""
        bias = None if self.bias is None else change(self.bias)
        return Projection(change(self.hidden), change(self.weight), bias)

    def logits(self, rows: slice | None = None) -> Tensor:
        """Return the logits of some rows; of all without ``rows``."""
        hidden_ND = self.hidden if rows is None else self.hidden[rows]
        return torch.nn.functional.linear(hidden_ND, self.weight, self.bias)

    def needs_grad(self) -> tuple[bool, bool, bool]:
        """Return whether hidden, weight and bias need a gradient; none does while gradients are off."""
        on = torch.is_grad_enabled()
        bias = self.bias is not None and self.bias.requires_grad
        return on and self.hidden.requires_grad, on and self.weight.requires_grad, on and bias

    def select(self, vocab_index: Tensor | None) -> Projection:
        """Return the projection onto some tokens of the vocabulary; onto all without ``vocab_index``."""
        if vocab_index is None:
            return self
        bias = None if self.bias is None else self.bias[vocab_index]
        return Projection(self.hidden, self.weight[vocab_index], bias)


def make_projection(  # noqa: PLR0917 — the parts of a projection, in its order
    op: str,
    prefix: str,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    convert: Callable[[Tensor], Tensor],
) -> Projection:
    """Return the projection of three arguments, each checked to be a tensor and then converted."""
    named = {"hidden": hidden, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, tensor in named.items():
        checks.check_tensor(op, f"{prefix}{name}", tensor)
    return Projection(hidden, weight, bias).map(convert)


def check_pair(op: str, student: Projection, teacher: Projection) -> None:
    """Check that two projections have the same rows, dtype and device; their vocabularies may differ."""
    for prefix, projection in (("student_", student), ("teacher_", teacher)):
        check_projection(op, prefix, projection, student.hidden)


def check_projection(op: str, prefix: str, projection: Projection, like: Tensor) -> None:
    """Check one projection: its shapes fit each other and it has the rows, dtype and device of ``like``.

    Args:
        op: the name that a message begins with.
        prefix: the beginning of the arguments' names: ``student_``, ``teacher_`` or nothing.
        projection: the hidden state, weight and bias.
        like: the hidden state that it must fit.
    """
    hidden, weight, bias = projection
    checks.check_float(op, f"{prefix}hidden", hidden, 2)
    checks.check_width(op, f"{prefix}hidden", hidden)
    rows, width = like.shape[0], hidden.shape[1]
    checks.check_like(op, f"{prefix}hidden", hidden, (rows, width), like)
    checks.check_float(op, f"{prefix}weight", weight, 2)
    vocabulary = weight.shape[0]
    if vocabulary == 0:
        raise checks.fault(op, f"{prefix}weight", "one token or more", "0×")
    checks.check_like(op, f"{prefix}weight", weight, (vocabulary, width), like)
    if bias is not None:
        checks.check_like(op, f"{prefix}bias", bias, (vocabulary,), like)
