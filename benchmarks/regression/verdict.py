"""Is a revision slower than another? Ratios of one interleaved run with their intervals, and exact counts.

Each process that is started lays its memory out anew, and keeps for life what luck gave it: a few percent. So
revisions are timed in several launches of both, and the bootstrap draws launches first, then rounds of each.
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
"""What the base took, and what the head took, one after the other."""

_LESS_IS_WORSE = ("right answers*",)


def slowdown(launches: Sequence[Sequence[Round]], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Gives how many times as long the head takes as the base, with its 95 % bootstrap interval.

    The estimate is the geometric mean over launches of the median over a launch's rounds of head over base.

    Args:
        launches: the rounds of each launch of both.
        resamples: of the bootstrap, over launches and over the rounds of each.
        seed: of the bootstrap.

    Raises:
        HarnessError: no launch, or one without a round.
    """
    if not launches or not all(launches):
        raise HarnessError(
            f"compare: wanted launches with rounds; got {[len(one) for one in launches]}; take more of each"
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


def word(interval: Interval, tolerance: float = TOLERANCE) -> str:
    """Says ``slower`` or ``faster`` where the whole interval is past the tolerance; else ``same``."""
    if interval.low > 1 + tolerance:
        return "slower"
    return "faster" if interval.high < 1 / (1 + tolerance) else "same"


@dataclass(frozen=True)
class Change:
    """A count that is not what it was.

    Attributes:
        name: of what was counted.
        base: the count then; None where it was not counted.
        head: the count now.
        word: ``worse``, ``better``, ``accepted``, ``new`` or ``gone``.
    """

    name: str
    base: int | None
    head: int | None
    word: str


def changes(base: Mapping[str, int], head: Mapping[str, int], accepted: Sequence[str] = ()) -> list[Change]:
    """Gives the counts that differ; more is worse, save of what should be many.

    Args:
        base: the counts of one revision, by name.
        head: those of the other.
        accepted: patterns of names that may grow.
    """
    found = []
    for name in sorted({*base, *head}):
        before, now = base.get(name), head.get(name)
        if before != now:
            found.append(Change(name, before, now, _word(name, before, now, accepted)))
    return found


def _word(name: str, before: int | None, now: int | None, accepted: Sequence[str]) -> str:
    if before is None or now is None:
        return "new" if before is None else "gone"
    more_is_worse = not any(fnmatch(name, pattern) for pattern in _LESS_IS_WORSE)
    if (now > before) != more_is_worse:
        return "better"
    return "accepted" if any(fnmatch(name, pattern) for pattern in accepted) else "worse"
