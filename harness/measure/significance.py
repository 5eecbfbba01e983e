"""Compare two models scored on the same items: intervals, tests, and one rule for the verdict.

Shapes: **N** items, **M** items on which two models differ, **S** seeds, **K** counts of a metric,
**R** resamples or rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import HarnessError
from harness.measure.interval import RESAMPLES, Interval, percentile_interval
from harness.measure.scores import Item, Tally, tally_all
from harness.verdict import Verdict, decide_verdict

ROUNDS = 5000
ROUNDS_A_ROW = 100
_BLOCK = 2_000_000
_SAME = 1e-12
"""Two statistics closer than this differ by rounding only."""

Replicates = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One model compared with another, on the same items.

    Attributes:
        difference: mean over seeds of the first model, less that of the second, with its bootstrap interval
            over items and seeds.
        retention: the first model's mean as a share of the second's, with its interval; None where the
            second's score or one of its resamples is 0.
        p_value: of approximate randomisation; two-sided.
        p_wilcoxon: of Wilcoxon's signed-rank test over the items' own scores; two-sided.
    """

    difference: Interval
    retention: Interval | None
    p_value: float
    p_wilcoxon: float

    def verdict(self, p_holm: float) -> Verdict:
        """Return the verdict of :func:`verdict`."""
        return verdict(self.difference, p_holm)


def verdict(difference: Interval, p_holm: float | None) -> Verdict:
    """Return ``better`` or ``worse`` only where the interval excludes 0 and the corrected test agrees.

    Args:
        difference: of the scores, with its interval.
        p_holm: the p-value after correction over the table; None where no test was made.
    """
    return decide_verdict(difference.value, difference.low, difference.high, p_holm)


def resample_items(num_items: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Replicates:
    """Draw how often each item occurs in each resample (R × N); the same for all models of a task."""
    drawn = np.random.default_rng(seed)
    times_RN: Replicates = drawn.multinomial(num_items, [1 / num_items] * num_items, resamples).astype(float)
    return times_RN


def replicate(
    tallies: Sequence[Tally], items_RN: Replicates, *, seed: int | tuple[int, ...] = 0
) -> Replicates:
    """Return a model's mean over seeds in each resample of items and seeds.

    The spread over S seeds is stretched by √(S/(S−1)), since S seeds drawn from S spread too little
    (Rao and Wu 1988); one seed has none, and the replicates are then over items alone.

    Args:
        tallies: one a seed.
        items_RN: of :func:`resample_items`.
        seed: of the draw of seeds. Models that are compared need different seeds, and so does one model on
            each task, as the seeds of one task are independent of those of the next.
    """
    scores_RS = np.stack([one.finish(items_RN @ one.counts_NK) for one in tallies], axis=1)
    mean_R: Replicates = scores_RS.mean(axis=1)
    num_seeds = len(tallies)
    if num_seeds == 1:
        return mean_R
    drawer = np.random.default_rng([*((seed,) if isinstance(seed, int) else seed), num_seeds])
    drawn_RS = drawer.integers(num_seeds, size=(len(items_RN), num_seeds))
    moved_R = np.take_along_axis(scores_RS, drawn_RS, axis=1).mean(axis=1) - mean_R
    mean_R += math.sqrt(num_seeds / (num_seeds - 1)) * moved_R
    return mean_R


def mean(tallies: Sequence[Tally]) -> float:
    """Return the mean score over seeds."""
    return math.fsum(one.value for one in tallies) / len(tallies)


def interval(tallies: Sequence[Tally], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return a model's mean score with its bootstrap interval over items and seeds, all from 0 to 1."""
    items_RN = resample_items(len(tallies[0].counts_NK), resamples=resamples, seed=seed)
    return percentile_interval(mean(tallies), replicate(tallies, items_RN, seed=seed).clip(0, 1))


def share(part: float, whole: float, part_R: Replicates, whole_R: Replicates) -> Interval | None:
    """Return a score as a share of another's, with its interval; None where the other is (resampled to) 0."""
    if whole <= 0 or whole_R.min() <= 0:
        return None
    return percentile_interval(part / whole, part_R / whole_R)


def randomise(one: Sequence[Tally], other: Sequence[Tally], *, rounds: int = ROUNDS, seed: int = 0) -> float:
    """Return the two-sided p-value of approximate randomisation (Noreen 1989; Yeh 2000).

    In each round each item's predictions, of all seeds at once, change sides with probability one half; the
    p-value is the share of rounds, including the observed one, whose difference is as large.

    Invariants: equal predictions have p-value 1; items on which the two agree do not matter; never below
    1/(R+1).
    """
    pairs = _paired(one, other)
    differing_N = np.any([(a.counts_NK != b.counts_NK).any(axis=1) for a, b in pairs], axis=0)
    observed = abs(mean(one) - mean(other))
    if not differing_N.any():
        return 1.0
    drawn, num_differing = np.random.default_rng(seed), int(differing_N.sum())
    as_large, left = 0, rounds
    while left:
        block = min(left, max(1, _BLOCK // num_differing))
        swapped_RM = drawn.integers(2, size=(block, num_differing), dtype=np.int8).astype(np.float64)
        apart_R = np.zeros(block)
        for a, b in pairs:
            moved_RK = swapped_RM @ (b.counts_NK - a.counts_NK)[differing_N]
            apart_R += a.finish(a.counts_NK.sum(axis=0) + moved_RK)
            apart_R -= b.finish(b.counts_NK.sum(axis=0) - moved_RK)
        as_large += int((np.abs(apart_R / len(pairs)) >= observed - _SAME).sum())
        left -= block
    return (as_large + 1) / (rounds + 1)


def _paired(one: Sequence[Tally], other: Sequence[Tally]) -> list[tuple[Tally, Tally]]:
    """Pair the seeds of two models; a model of one seed is paired with each seed of the other."""
    if len(one) != len(other) and 1 not in (len(one), len(other)):
        raise HarnessError(
            f"compare: expected as many seeds of both models, or one; got {len(one)} and {len(other)}; "
            "score them with the same seeds"
        )
    number = max(len(one), len(other))
    pairs = zip([*one] * (number // len(one)), [*other] * (number // len(other)), strict=True)
    return [(a, b) for a, b in pairs]


def wilcoxon(one: Sequence[Tally], other: Sequence[Tally]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test over the items' own scores.

    An item's score is the metric of that item alone, averaged over seeds; items with equal scores are
    dropped, and where all are equal the p-value is 1.
    """
    apart_N = _score_items(one) - _score_items(other)
    apart_N = apart_N[np.abs(apart_N) > _SAME]
    return float(stats.wilcoxon(apart_N).pvalue) if len(apart_N) else 1.0


def _score_items(tallies: Sequence[Tally]) -> NDArray[np.float64]:
    scores_SN = np.stack([one.finish(one.counts_NK) for one in tallies])
    mean_N: NDArray[np.float64] = scores_SN.mean(axis=0)
    return mean_N


@dataclass(frozen=True)
class Sampled:
    """A model's tallies on some items, and its means in resamples of items and seeds.

    Attributes:
        tallies: one a seed.
        replicates_R: see :func:`replicate`.
    """

    tallies: Sequence[Tally]
    replicates_R: Replicates

    @property
    def mean(self) -> float:
        """The mean score over seeds."""
        return mean(self.tallies)


def sample(models: Sequence[Sequence[Tally]], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Sampled]:
    """Resample models that were scored on the same items: the same items for all, seeds for each model apart.

    Each of several tasks needs a ``seed`` of its own, so that their draws of items and seeds are independent.

    Raises:
        HarnessError: two models were scored on different numbers of items.
    """
    numbers = [len(tallies[0].counts_NK) for tallies in models]
    if len(set(numbers)) > 1:
        raise HarnessError(
            f"compare: expected all models on the same items; got {' and '.join(map(str, numbers))}; "
            "score them on one test part"
        )
    items_RN = resample_items(numbers[0], resamples=resamples, seed=seed)
    return [
        Sampled(tallies, replicate(tallies, items_RN, seed=(seed, place)))
        for place, tallies in enumerate(models)
    ]


def compare(one: Sampled, other: Sampled, *, rounds: int = ROUNDS, seed: int = 0) -> Comparison:
    """Compare two models that were resampled together.

    Raises:
        HarnessError: they were scored with different numbers of seeds, neither of which is one.
    """
    return Comparison(
        difference=percentile_interval(one.mean - other.mean, one.replicates_R - other.replicates_R),
        retention=share(one.mean, other.mean, one.replicates_R, other.replicates_R),
        p_value=randomise(one.tallies, other.tallies, rounds=rounds, seed=seed),
        p_wilcoxon=wilcoxon(one.tallies, other.tallies),
    )


def compare_predictions(
    metric: str,
    gold: Sequence[Item],
    one: Sequence[Sequence[Item]],
    other: Sequence[Sequence[Item]],
    *,
    seed: int = 0,
) -> Comparison:
    """Compare two models by their predictions, a list of labels for each seed; errors as of ``tally``."""
    tallies = tally_all(metric, gold, [*one, *other])
    return compare(*sample([tallies[: len(one)], tallies[len(one) :]], seed=seed), seed=seed)


def choose_rounds(num_rows: int) -> int:
    """Return how many rounds a test needs in a table of so many rows.

    Invariants: the least p-value, 1/(R+1), is below 0.01 after Holm's correction, however long the table.
    """
    return max(ROUNDS, ROUNDS_A_ROW * num_rows)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a table (Holm 1979), so that one error in the table has the level's chance.

    Invariants: the order of the values stays; no value becomes smaller or exceeds 1.
    """
    corrected, floor = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = floor
    return corrected
