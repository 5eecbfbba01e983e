"""Least-squares fits of what reads and what writes the residual stream of a narrower model.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **X** what a map reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from harness.models.narrowing.activations import States
from harness.models.narrowing.least_squares import AffineFit, Linear, Regression

_READ_RIDGE = 1e-6
_WRITE_RIDGE = 1e-4
_LEAST_GAIN_FRACTION = 0.1
"""No dimension is scaled up by more than ten times the mean, which would fit noise."""


class Sublayer(NamedTuple):
    """What the map that ends a sublayer is fitted to.

    Attributes:
        features: returns N × X, what the student's map reads of a batch.
        added: what the teacher's sublayer adds to the stream.
        after: the teacher's stream after the norm.
        prior: the map towards which the fit is drawn.
    """

    features: Callable[[int], Tensor]
    added: States
    after: States
    prior: Linear


class FittedSublayer(NamedTuple):
    """A fitted sublayer of the student.

    Attributes:
        out: the map that writes the stream.
        norm: the gains and biases of the norm after it.
        student: the student's stream after the norm.
    """

    out: Linear
    norm: Linear
    student: States


def estimate_teacher(teacher: States, student: States) -> Linear:
    """Return the linear map of the student's stream that comes nearest to the teacher's."""
    regression = Regression()
    for rows_NS, target_ND in zip(student, teacher, strict=True):
        regression.add(rows_NS, target_ND)
    return regression.solve(_READ_RIDGE)


def fit_sublayer(sublayer: Sublayer, student: States, basis_DS: Tensor, eps: float) -> FittedSublayer:
    """Fit the map that ends a sublayer and the norm after it.

    Args:
        sublayer: what to fit to.
        student: the student's stream before the sublayer.
        basis_DS: of the student's stream.
        eps: what the norm adds to a variance.
    """
    target = [rows_ND @ basis_DS for rows_ND in sublayer.after]
    folded = [
        rows_NS + added_ND @ basis_DS for rows_NS, added_ND in zip(student, sublayer.added, strict=True)
    ]
    gain_S, bias_S = _fit_gains(folded, target, eps)
    gain_S = _bound_gain(gain_S)
    regression = Regression()
    for index, rows_NS in enumerate(student):
        scale_N = folded[index].std(1, unbiased=False, keepdim=True).clamp_min(1e-6)
        sum_NS = scale_N * (target[index] - bias_S) / gain_S + folded[index].mean(1, keepdim=True)
        regression.add(sublayer.features(index), sum_NS - rows_NS, 1 / scale_N[:, 0])
    out = regression.solve(_WRITE_RIDGE, sublayer.prior)
    sums = [rows_NS + out(sublayer.features(index)) for index, rows_NS in enumerate(student)]
    return FittedSublayer(out, *fit_norm(sums, target, eps))


def fit_norm(before: States, target: States, eps: float) -> tuple[Linear, States]:
    """Fit a norm's gains and biases, and return them with the stream after the norm."""
    gain_S, bias_S = _fit_gains(before, target, eps)
    after = [layer_norm(rows_NS, gain_S.shape, gain_S, bias_S, eps) for rows_NS in before]
    return Linear(gain_S, bias_S), after


def _fit_gains(before: States, target: States, eps: float) -> tuple[Tensor, Tensor]:
    fit = AffineFit()
    for rows_NS, target_NS in zip(before, target, strict=True):
        fit.add(layer_norm(rows_NS, rows_NS.shape[-1:], eps=eps), target_NS)
    return fit.solve()


def _bound_gain(gain_S: Tensor) -> Tensor:
    least = _LEAST_GAIN_FRACTION * gain_S.square().mean().sqrt()
    return torch.where(gain_S < 0, gain_S.clamp_max(-least), gain_S.clamp_min(least))
