"""The quality gate: whether a smaller copy of a model may replace it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.measure.scores import Item, score
from harness.measure.significance import compare_predictions

ALLOWED_DROP = 0.005
"""Half a point: how far a copy's score may lie below its original's."""


@dataclass(frozen=True)
class GateVerdict:
    """The gate's verdict on a copy.

    Attributes:
        metric: the score, on ``num_items`` items of the part ``part``.
        part: of the task's data.
        num_items: how many items were scored.
        original: score of the original, 0 to 1; ``score`` that of the copy.
        score: see ``original``.
        drop: original less copy, with its paired 95 % bootstrap interval ``low`` to ``high``.
        low: see ``drop``.
        high: see ``drop``.
        allowed: the drop that is allowed.
        passed: false where the drop is larger than allowed and its interval excludes 0.
        reason: one sentence.
    """

    metric: str
    part: str
    num_items: int
    original: float
    score: float
    drop: float
    low: float
    high: float
    allowed: float
    passed: bool
    reason: str

    def record(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return asdict(self)


def compare_copy(
    metric: str,
    gold: Sequence[Item],
    original: Sequence[Item],
    copy: Sequence[Item],
    *,
    part: str,
    allowed: float = ALLOWED_DROP,
) -> GateVerdict:
    """Compare a copy's labels with its original's on the same items.

    A fall counts where both the paired bootstrap's interval excludes 0 and approximate randomisation agrees
    (:mod:`harness.measure.significance`).

    Raises:
        HarnessError: no item, or labels of other lengths.
        UsageError: no such metric.
    """
    comparison = compare_predictions(metric, gold, [original], [copy])
    drop, num_items = comparison.difference, len(gold)
    large, certain = drop.value > allowed, comparison.verdict(comparison.p_value) == "better"
    reason = (
        f"{metric} on {part} fell by {100 * drop.value:.2f} points (95 % interval {100 * drop.low:.2f} to "
    )
    reason += f"{100 * drop.high:.2f}, p {comparison.p_value:.3f}); {100 * allowed:g} are allowed"
    if large and not certain:
        reason += ", but so few items show no significant difference"
    return GateVerdict(
        metric=metric,
        part=part,
        num_items=num_items,
        original=score(metric, gold, original),
        score=score(metric, gold, copy),
        drop=drop.value,
        low=drop.low,
        high=drop.high,
        allowed=allowed,
        passed=not (large and certain),
        reason=reason,
    )
