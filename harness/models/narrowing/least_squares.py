"""Least-squares fits over a stream of rows, by sums in float64.

Only the sums are kept, so that memory does not grow with the text.

Shapes: **N** rows, **X** inputs of a map, **Y** its outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_TINY = 1e-12


class Linear(NamedTuple):
    """A map ``x_NX @ weight_YX.T + bias_Y``."""

    weight_YX: Tensor
    bias_Y: Tensor

    def __call__(self, rows_NX: Tensor) -> Tensor:
        """Map rows."""
        return torch.nn.functional.linear(rows_NX, self.weight_YX, self.bias_Y)


class Regression:
    """The sums of a weighted linear regression.

    Invariants: rows added at once or in parts give the same map, up to rounding.

    Args:
        constant: whether the map has a bias; without, its bias is zero.
    """

    def __init__(self, *, constant: bool = True) -> None:
        self._constant = constant
        self._dtype = torch.float32
        self._gram_XX: Tensor | None = None
        self._cross_XY: Tensor | None = None

    def add(self, rows_NX: Tensor, target_NY: Tensor, weight_N: Tensor | None = None) -> None:
        """Add rows; a row of weight w counts as w² rows."""
        self._dtype = target_NY.dtype
        rows_NX = append_ones(rows_NX) if self._constant else rows_NX
        if weight_N is not None:
            rows_NX, target_NY = rows_NX * weight_N[:, None], target_NY * weight_N[:, None]
        gram_XX, cross_XY = (rows_NX.T @ rows_NX).double(), (rows_NX.T @ target_NY).double()
        self._gram_XX = gram_XX if self._gram_XX is None else self._gram_XX + gram_XX
        self._cross_XY = cross_XY if self._cross_XY is None else self._cross_XY + cross_XY

    def solve(self, ridge: float, prior: Linear | None = None) -> Linear:
        """Return the map of least squared error, drawn towards a prior where the rows leave it open.

        Args:
            ridge: how strongly, as a share of the mean square of the inputs.
            prior: the map to draw towards; without one, zero.
        """
        assert self._gram_XX is not None, "a regression needs rows"
        assert self._cross_XY is not None, "a regression needs rows"
        pull = ridge * self._gram_XX.diagonal().mean() + _TINY
        gram_XX = self._gram_XX + pull * torch.eye(len(self._gram_XX), dtype=torch.float64)
        cross_XY = self._cross_XY
        if prior is not None:
            prior_YX = append_bias(prior) if self._constant else prior.weight_YX
            cross_XY = cross_XY + pull * prior_YX.double().T
        weight_YX = torch.linalg.solve(gram_XX, cross_XY).T.to(self._dtype)
        if self._constant:
            return split_bias(weight_YX)
        return Linear(weight_YX.contiguous(), weight_YX.new_zeros(len(weight_YX)))


class Covariance:
    """The sums of a covariance of rows."""

    def __init__(self) -> None:
        self._count = 0
        self._sum_X: Tensor | None = None
        self._square_XX: Tensor | None = None

    def add(self, rows_NX: Tensor) -> None:
        """Add rows."""
        total_X, square_XX = rows_NX.double().sum(0), (rows_NX.T @ rows_NX).double()
        self._count += len(rows_NX)
        self._sum_X = total_X if self._sum_X is None else self._sum_X + total_X
        self._square_XX = square_XX if self._square_XX is None else self._square_XX + square_XX

    def covariance(self) -> Tensor:
        """Return the covariance X × X of all rows; float64."""
        assert self._sum_X is not None, "a covariance needs rows"
        assert self._square_XX is not None, "a covariance needs rows"
        mean_X = self._sum_X / self._count
        return self._square_XX / self._count - mean_X[:, None] * mean_X

    def second_moment(self) -> Tensor:
        """Return the mean product (X + 1) × (X + 1) of the rows, each with a one at its end; float64."""
        assert self._sum_X is not None, "a second moment needs rows"
        assert self._square_XX is not None, "a second moment needs rows"
        last_X = torch.cat([self._sum_X, self._sum_X.new_tensor([self._count])])
        upper = torch.cat([self._square_XX, self._sum_X[:, None]], dim=1)
        return torch.cat([upper, last_X[None]]) / self._count


class AffineFit:
    """The sums of a regression of each column on its own: ``target ≈ gain · row + bias``."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._count = 0

    def add(self, rows_NX: Tensor, target_NX: Tensor) -> None:
        """Add rows."""
        rows_NX, target_NX = rows_NX.double(), target_NX.double()
        sums = [rows_NX.sum(0), target_NX.sum(0), (rows_NX**2).sum(0), (rows_NX * target_NX).sum(0)]
        if self._sums:
            sums = [total + part for total, part in zip(self._sums, sums, strict=True)]
        self._sums = sums
        self._count += len(rows_NX)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return gain and bias, each X."""
        row_X, target_X, square_X, product_X = (total / self._count for total in self._sums)
        gain_X = (product_X - row_X * target_X) / (square_X - row_X**2).clamp_min(_TINY)
        return gain_X.float(), (target_X - gain_X * row_X).float()


def append_ones(rows_NX: Tensor) -> Tensor:
    """Return the rows with a one at the end of each."""
    return torch.cat([rows_NX, rows_NX.new_ones(len(rows_NX), 1)], dim=1)


def append_bias(linear: Linear) -> Tensor:
    """Return weight and bias of a map as one matrix, Y × (X + 1)."""
    return torch.cat([linear.weight_YX, linear.bias_Y[:, None]], dim=1)


def split_bias(weight_YX: Tensor) -> Linear:
    """Return the map whose bias is the last column of a matrix."""
    return Linear(weight_YX[:, :-1].contiguous(), weight_YX[:, -1].contiguous())


def compose(module: Any, first: Linear) -> Linear:
    """Return the map that applies ``first``, then a linear module."""
    return Linear(module.weight @ first.weight_YX, module(first.bias_Y))


def square_roots(moment_XX: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square root of a symmetric matrix, and its inverse, both without directions of no weight."""
    values_X, vectors_XX = torch.linalg.eigh(moment_XX)
    values_X = values_X.clamp_min(values_X.max() * 1e-10 + _TINY)
    return vectors_XX * values_X.sqrt() @ vectors_XX.T, vectors_XX * values_X.rsqrt() @ vectors_XX.T
