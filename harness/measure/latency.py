"""How long variants take, measured so that noise cannot pick the winner.

Machines are noisy: the variants run round by round in shuffled order, every sample is kept, and the result is
a ratio within one run, with its interval. A ratio whose interval contains 1 is no speed-up.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.measure.interval import Interval, percentile_interval

Variant = Callable[[], object]
Clock = Callable[[], int]
_CHUNK_ELEMENTS = 1_000_000


@dataclass(frozen=True)
class Samples:
    """Durations of one variant, one a round.

    Attributes:
        durations_ns: nanoseconds, in the order of the rounds; no sample is dropped.
    """

    durations_ns: tuple[int, ...]

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile (0 to 100) in milliseconds, interpolated between samples."""
        return float(np.percentile(self.durations_ns, percent)) / 1e6

    @property
    def median_ms(self) -> float:
        """The median in milliseconds."""
        return self.percentile_ms(50)


@dataclass(frozen=True)
class Choice:
    """The variant to keep, and why.

    Attributes:
        name: the variant kept.
        reason: one sentence with the numbers.
        p50_ms: the median of each variant, in milliseconds.
    """

    name: str
    reason: str
    p50_ms: Mapping[str, float]


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _warm_up(variant: Variant, warmup_s: float, clock: Clock) -> None:
    until = clock() + int(warmup_s * 1e9)
    variant()
    while clock() < until:
        variant()


def interleave(
    variants: Mapping[str, Variant],
    *,
    warmup_s: float,
    budget_s: float,
    min_rounds: int,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Samples]:
    """Time variants round by round; each round runs every variant once, in an order shuffled by ``seed``.

    Invariants: all variants have the same number of samples, at least ``min_rounds``; sample *i* of each
    was taken in round *i*; the garbage collector does not run while samples are taken.

    Args:
        variants: the functions to call, by name.
        warmup_s: how long each is called before the first round, in seconds; at least once.
        budget_s: how long rounds go on for all variants together, in seconds.
        min_rounds: rounds to take however long they last.
        seed: of the order within rounds.
        clock: returns nanoseconds.

    Raises:
        HarnessError: nothing to time, or no round asked for.
    """
    if not variants or min_rounds < 1:
        raise HarnessError(
            f"latency: expected one variant and one round at least; got {len(variants)} variants and "
            f"{min_rounds} rounds; name what to time and raise min_rounds"
        )
    for variant in variants.values():
        _warm_up(variant, warmup_s, clock)
    order, shuffler = list(variants), random.Random(seed)
    taken: dict[str, list[int]] = {name: [] for name in variants}
    with _no_collection():
        until = clock() + int(budget_s * 1e9)
        num_rounds = 0
        while num_rounds < min_rounds or clock() < until:
            shuffler.shuffle(order)
            for name in order:
                start = clock()
                variants[name]()
                taken[name].append(clock() - start)
            num_rounds += 1
    return {name: Samples(tuple(durations)) for name, durations in taken.items()}


def ratio(base: Samples, other: Samples, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return how many times as fast as ``base`` the other is: the ratio of the medians, base over other.

    The interval is a bootstrap over rounds: each round contributes both its samples, so that a slow round
    cancels.

    Raises:
        HarnessError: the two were not timed in the same rounds.
    """
    base_R, other_R = np.asarray(base.durations_ns, float), np.asarray(other.durations_ns, float)
    if len(base_R) != len(other_R) or not len(base_R):
        raise HarnessError(
            f"latency: expected samples of the same rounds; got {len(base_R)} and {len(other_R)}; "
            f"time both in one call of interleave"
        )
    generator, replicates = np.random.default_rng(seed), []
    chunk = max(1, min(resamples, _CHUNK_ELEMENTS // len(base_R)))
    for start in range(0, resamples, chunk):
        drawn_KR = generator.integers(0, len(base_R), (min(chunk, resamples - start), len(base_R)))
        replicates.append(np.median(base_R[drawn_KR], axis=1) / np.median(other_R[drawn_KR], axis=1))
    return percentile_interval(float(np.median(base_R) / np.median(other_R)), np.concatenate(replicates))


def speedup(interval: Interval) -> float | None:
    """Return the speed-up that a ratio supports; None where its interval contains 1."""
    return interval.value if interval.excludes(1.0) else None


def choose_fastest(samples: Mapping[str, Samples]) -> Choice:
    """Choose the fastest variant; the first is kept unless another is significantly faster.

    Invariants: a variant other than the first is chosen only where the interval of its speed-up excludes 1.
    """
    names = list(samples)
    p50_ms = {name: one.median_ms for name, one in samples.items()}
    first, best = names[0], min(names, key=lambda name: p50_ms[name])
    if len(names) == 1:
        return Choice(first, f"'{first}' was the only variant", p50_ms)
    rival = best if best != first else min(names[1:], key=lambda name: p50_ms[name])
    gain = ratio(samples[first], samples[rival])
    speed = f"{gain.value:.3f} times as fast as '{first}' (95 % interval {gain.low:.3f} to {gain.high:.3f})"
    if speedup(gain) is None:
        return Choice(first, f"'{rival}' was {speed}: no difference, so the first is kept", p50_ms)
    return Choice(best, f"'{rival}' was {speed}: '{best}' is faster", p50_ms)


@dataclass(frozen=True)
class Timing:
    """The latency of one variant compared with a base.

    Attributes:
        samples: its durations.
        speed_ratio: how many times as fast as the base it is.
    """

    samples: Samples
    speed_ratio: Interval

    def record(self, *percents: int) -> dict[str, Any]:
        """Return percentiles as ``p<percent>_ms``, and ``speed_ratio``, as plain data."""
        ratio = self.speed_ratio
        bounds = {"value": ratio.value, "low": ratio.low, "high": ratio.high}
        percentiles = {f"p{percent}_ms": self.samples.percentile_ms(percent) for percent in percents}
        return {**percentiles, "speed_ratio": bounds}


def compare_with_base(samples: Mapping[str, Samples], base: str) -> dict[str, Timing]:
    """Return each variant's samples with its speed ratio to the variant ``base``."""
    return {name: Timing(taken, ratio(samples[base], taken)) for name, taken in samples.items()}
