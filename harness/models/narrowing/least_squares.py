"""Sums over a stream of rows, in float64, and the least squares they answer.

Nothing is kept of a row but its part of the sums, so that memory does not grow with the text.

Shapes: **N** rows, **X** what a map reads, **Y** what it should give.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 1e-12


class Linear(NamedTuple):
    """A map ``x_NX @ weight_YX.T + bias_Y``."""

    weight_YX: Tensor
    bias_Y: Tensor

    def __call__(self, rows_NX: Tensor) -> Tensor:
        """Maps rows."""
        return torch.nn.functional.linear(rows_NX, self.weight_YX, self.bias_Y)


class Regression:
    """The sums of a weighted linear regression with a constant.

    Holds: rows given in one go or in many give the same map, up to rounding.
    """

    def __init__(self) -> None:
        self._gram_XX: Tensor | None = None
        self._cross_XY: Tensor | None = None

    def add(self, rows_NX: Tensor, wanted_NY: Tensor, weight_N: Tensor | None = None) -> None:
        """Adds rows; a row of weight w counts as w² rows."""
        rows_NX = append_ones(rows_NX)
        if weight_N is not None:
            rows_NX, wanted_NY = rows_NX * weight_N[:, None], wanted_NY * weight_N[:, None]
        gram_XX, cross_XY = (rows_NX.T @ rows_NX).double(), (rows_NX.T @ wanted_NY).double()
        self._gram_XX = gram_XX if self._gram_XX is None else self._gram_XX + gram_XX
        self._cross_XY = cross_XY if self._cross_XY is None else self._cross_XY + cross_XY

    def solve(self, ridge: float, prior: Linear | None = None) -> Linear:
        """Gives the map of least squared error, drawn towards the prior (or zero) where rows say little.

        Args:
            ridge: how strongly, as a share of the mean square of what the map reads.
            prior: the map to draw it to.
        """
        assert self._gram_XX is not None, "a regression needs rows"
        assert self._cross_XY is not None, "a regression needs rows"
        pull = ridge * self._gram_XX.diagonal().mean() + _TINY
        gram_XX = self._gram_XX + pull * torch.eye(len(self._gram_XX), dtype=torch.float64)
        cross_XY = self._cross_XY
        if prior is not None:
            cross_XY = cross_XY + pull * append_bias(prior).double().T
        return split_bias(torch.linalg.solve(gram_XX, cross_XY).T.float())


class Covariance:
    """The sums of a covariance of rows."""

    def __init__(self) -> None:
        self._count = 0
        self._sum_X: Tensor | None = None
        self._square_XX: Tensor | None = None

    def add(self, rows_NX: Tensor) -> None:
        """Adds rows."""
        total_X, square_XX = rows_NX.double().sum(0), (rows_NX.T @ rows_NX).double()
        self._count += len(rows_NX)
        self._sum_X = total_X if self._sum_X is None else self._sum_X + total_X
        self._square_XX = square_XX if self._square_XX is None else self._square_XX + square_XX

    def covariance(self) -> Tensor:
        """Gives the covariance X × X of all rows, float64."""
        assert self._sum_X is not None, "a covariance needs rows"
        assert self._square_XX is not None, "a covariance needs rows"
        mean_X = self._sum_X / self._count
        return self._square_XX / self._count - mean_X[:, None] * mean_X

    def second_moment(self) -> Tensor:
        """Gives the mean product (X + 1) × (X + 1) of the rows, each with a one at its end; float64."""
        assert self._sum_X is not None, "a moment needs rows"
        assert self._square_XX is not None, "a moment needs rows"
        last_X = torch.cat([self._sum_X, self._sum_X.new_tensor([self._count])])
        upper = torch.cat([self._square_XX, self._sum_X[:, None]], dim=1)
        return torch.cat([upper, last_X[None]]) / self._count


class AffineFit:
    """The sums of a regression of each column on its own: ``wanted ≈ gain · row + bias``."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._count = 0

    def add(self, rows_NX: Tensor, wanted_NX: Tensor) -> None:
        """Adds rows."""
        rows_NX, wanted_NX = rows_NX.double(), wanted_NX.double()
        found = [rows_NX.sum(0), wanted_NX.sum(0), (rows_NX**2).sum(0), (rows_NX * wanted_NX).sum(0)]
        self._sums = [one + two for one, two in zip(self._sums, found, strict=True)] if self._sums else found
        self._count += len(rows_NX)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Gives gain and bias, each X."""
        row_X, wanted_X, square_X, product_X = (one / self._count for one in self._sums)
        gain_X = (product_X - row_X * wanted_X) / (square_X - row_X**2).clamp_min(_TINY)
        return gain_X.float(), (wanted_X - gain_X * row_X).float()


def append_ones(rows_NX: Tensor) -> Tensor:
    """Gives the rows with a one at the end of each."""
    return torch.cat([rows_NX, rows_NX.new_ones(len(rows_NX), 1)], dim=1)


def append_bias(one: Linear) -> Tensor:
    """Gives weight and bias of a map side by side, Y × (X + 1)."""
    return torch.cat([one.weight_YX, one.bias_Y[:, None]], dim=1)


def split_bias(weight_YX: Tensor) -> Linear:
    """Gives the map whose weight and bias stand side by side."""
    return Linear(weight_YX[:, :-1].contiguous(), weight_YX[:, -1].contiguous())


def square_roots(moment_XX: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the square root of a symmetric matrix, and its inverse, directions of no weight left out."""
    values_X, vectors_XX = torch.linalg.eigh(moment_XX)
    values_X = values_X.clamp_min(values_X.max() * 1e-10 + _TINY)
    return vectors_XX * values_X.sqrt() @ vectors_XX.T, vectors_XX * values_X.rsqrt() @ vectors_XX.T
