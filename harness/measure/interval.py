"""An estimate with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 1000
"""Bootstrap resamples of an interval."""


@dataclass(frozen=True)
class Interval:
    """An estimate between two bounds.

    Invariants: ``low <= high``; the estimate is between them unless a bootstrap is skewed.

    Attributes:
        value: the estimate on the data as measured.
        low: lower bound.
        high: upper bound.
        level: the share of repetitions whose bounds contain the true value.
    """

    value: float
    low: float
    high: float
    level: float = LEVEL

    def excludes(self, number: float) -> bool:
        """Return whether the interval does not contain ``number``."""
        return not self.low <= number <= self.high


def percentile_interval(value: float, replicates: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Return the percentile bootstrap interval of ``value`` (Efron and Tibshirani 1993, chapter 13)."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.asarray(replicates, dtype=np.float64), [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))
