"""Is a revision slower than another? Ratios of one interleaved run with their intervals, and exact counts.

Each process has a memory layout of its own as long as it runs, which makes it a few percent faster or slower.
So revisions are timed in several launches of both; the bootstrap draws launches first, then rounds of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np

from harness.errors import HarnessError
from harness.measure.interval import Interval, percentile_interval

TOLERANCE = 0.05
Round = tuple[float, float]
"""Times of the base and of the head, one after the other."""

_LESS_IS_WORSE = ("right answers*",)


def estimate_slowdown(
    launches: Sequence[Sequence[Round]], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return how many times as long the head takes as the base, with its 95 % bootstrap interval.

    The estimate is the geometric mean over launches of the median over a launch's rounds of head over base.

    Args:
        launches: the rounds of each launch of both.
        resamples: resamples of the bootstrap, over launches and over the rounds of each.
        seed: seed of the bootstrap.

    Raises:
        HarnessError: no launch, or one without a round.
    """
    if not launches or not all(launches):
        raise HarnessError(
            f"compare: expected launches with rounds; got {[len(one) for one in launches]}; take more of each"
        )
    generator = np.random.default_rng(seed)
    ratios = [np.log([head / base for base, head in rounds]) for rounds in launches]
    medians = np.stack([
        np.median(one[generator.integers(0, len(one), (resamples, len(one)))], axis=1) for one in ratios
    ])  # fmt: skip
    drawn = generator.integers(0, len(ratios), (len(ratios), resamples))
    replicates = medians[drawn, generator.integers(0, resamples, drawn.shape)].mean(axis=0)
    value = float(np.mean([np.median(one) for one in ratios]))
    return percentile_interval(float(np.exp(value)), np.exp(replicates))


def classify(interval: Interval, tolerance: float = TOLERANCE) -> str:
    """Return ``slower`` or ``faster`` where the whole interval is past the tolerance; else ``same``."""
    if interval.low > 1 + tolerance:
        return "slower"
    return "faster" if interval.high < 1 / (1 + tolerance) else "same"


@dataclass(frozen=True)
class Change:
    """A count that changed.

    Attributes:
        name: name of the count.
        base: count of the base; None where it was not counted.
        head: count of the head.
        word: ``worse``, ``better``, ``accepted``, ``new`` or ``gone``.
    """

    name: str
    base: int | None
    head: int | None
    word: str


def compare_counts(
    base: Mapping[str, int], head: Mapping[str, int], accepted: Sequence[str] = ()
) -> list[Change]:
    """Return the counts that differ; more is worse, except for right answers.

    Args:
        base: counts of the base, by name.
        head: counts of the head.
        accepted: patterns of names that may grow.
    """
    changes = []
    for name in sorted({*base, *head}):
        before, now = base.get(name), head.get(name)
        if before != now:
            changes.append(Change(name, before, now, _classify_change(name, before, now, accepted)))
    return changes


def _classify_change(name: str, before: int | None, now: int | None, accepted: Sequence[str]) -> str:
    if before is None or now is None:
        return "new" if before is None else "gone"
    more_is_worse = not any(fnmatch(name, pattern) for pattern in _LESS_IS_WORSE)
    if (now > before) != more_is_worse:
        return "better"
    return "accepted" if any(fnmatch(name, pattern) for pattern in accepted) else "worse"
