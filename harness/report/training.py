"""The rows of results about training: cost, losses and the curve of the loss."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from harness.report.values import Amount, Count, Key, ReportModel

MOST_POINTS = 100
"""Points of a curve in a report; a longer one is thinned."""


class LossPoint(ReportModel):
    """The mean loss of some optimiser steps, and the last of them."""

    step: Count
    loss: float


class TrainingRecord(ReportModel):
    """The cost and the losses of one step that trains. Losses are as the step defines them, in nats.

    Attributes:
        curve: the loss over the optimiser steps; empty where too few steps were taken to log one.
    """

    step: str
    tokens: Count | None = None
    tokens_per_s: Amount | None = None
    wall_s: Amount | None = None
    peak_memory_bytes: Count | None = None
    loss_final: float | None = None
    loss_held_out: float | None = None
    note: str | None = None
    curve: tuple[LossPoint, ...] = ()
    key: Key


def thin_curve(points: Sequence[tuple[int, float]]) -> tuple[LossPoint, ...]:
    """Return a curve of at most `MOST_POINTS` points, each the mean of neighbours, the last step kept.

    Args:
        points: optimiser steps and losses, in the order of the steps.
    """
    width = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + width] for start in range(0, len(points), width or 1)]
    return tuple(LossPoint(step=one[-1][0], loss=statistics.fmean(loss for _, loss in one)) for one in groups)
