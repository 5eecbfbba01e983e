"""The rule for what may be said of the difference between two scores, and the words for it."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["better", "worse", "not told apart"]
"""The value in files; `describe_verdict` has the words for tables."""

SIGNIFICANCE = 0.05


def decide_verdict(value: float, low: float, high: float, p_value: float | None) -> Verdict:
    """Return ``better`` or ``worse`` only where the interval excludes 0 and the test, if any, is significant.

    Args:
        value: the difference of the scores.
        low: the lower bound of its interval.
        high: the upper bound.
        p_value: after correction over the table; None where no test was made.
    """
    if low <= 0 <= high or (p_value is not None and p_value >= SIGNIFICANCE):
        return "not told apart"
    return "better" if value > 0 else "worse"


def describe_verdict(verdict: str) -> str:
    """Return the words for a verdict."""
    return "no significant difference" if verdict == "not told apart" else verdict
