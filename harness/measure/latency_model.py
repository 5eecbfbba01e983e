"""Predict the median latency of an encoder from its shape, by terms that follow the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.config.shape import Shape

TERMS = (
    "call and head",
    "embeddings: hidden",
    "a layer's operators",
    "norms and attention: hidden",
    "activation: FFN",
    "projections: hidden × hidden",
    "FFN's products: hidden × FFN",
)
"""At a fixed number of tokens; all but the first two are of each layer. The products within attention are
tokens × tokens × hidden, and so belong to the fourth.
"""


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds of each of `TERMS`, none below zero, and how far predictions are off.

    Attributes:
        coefficients: by term, in the order of `TERMS`.
        errors: of each measured shape, predicted by a fit without it: the relative difference.
    """

    coefficients: tuple[float, ...]
    errors: tuple[float, ...]

    def predict_ms(self, shape: Shape) -> float:
        """Return the median latency of a shape."""
        return float(np.dot(_list_terms(shape), self.coefficients))

    @property
    def worst_error(self) -> float:
        """The largest relative error of a shape that the fit had not seen."""
        return max(self.errors)


def _list_terms(shape: Shape) -> tuple[float, ...]:
    layers, hidden, ffn = shape.layers, shape.hidden, shape.ffn
    return (1, hidden, layers, layers * hidden, layers * ffn, layers * hidden**2, layers * hidden * ffn)


def fit_latency(shapes: Sequence[Shape], medians_ms: Sequence[float]) -> LatencyModel:
    """Fit measured medians by non-negative least squares of the relative differences."""
    terms_ST = np.array([_list_terms(shape) for shape in shapes], dtype=float)
    measured_S = np.asarray(medians_ms, dtype=float)
    errors = []
    for index in range(len(shapes)):
        others_S = np.arange(len(shapes)) != index
        predicted = terms_ST[index] @ _solve(terms_ST[others_S], measured_S[others_S])
        errors.append(abs(float(predicted / measured_S[index]) - 1))
    return LatencyModel(tuple(map(float, _solve(terms_ST, measured_S))), tuple(errors))


def _solve(terms_ST: NDArray[np.float64], measured_S: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import nnls  # noqa: PLC0415  reading a table needs no solver

    relative_ST = terms_ST / measured_S[:, None]
    scale_T = relative_ST.max(axis=0)
    solved_T: NDArray[np.float64] = nnls(relative_ST / scale_T, np.ones(len(measured_S)))[0] / scale_T
    return solved_T
