from __future__ import annotations

import itertools

import pytest

from harness.errors import HarnessError
from harness.measure.latency import Samples, choose_fastest, interleave, ratio, speedup


def ticking(step_ns: int = 1_000_000):
    counter = itertools.count(0, step_ns)
    return lambda: next(counter)


def test_every_variant_runs_once_a_round_and_every_sample_is_kept():
    calls: list[str] = []
    variants = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    samples = interleave(variants, warmup_s=0, budget_s=0, min_rounds=5, clock=ticking())
    assert {name: len(one.durations_ns) for name, one in samples.items()} == {"a": 5, "b": 5, "c": 5}
    measured = calls[3:]
    rounds = [measured[start : start + 3] for start in range(0, 15, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_warm_up_goes_by_time_and_the_budget_adds_rounds():
    calls: list[int] = []
    samples = interleave(
        {"a": lambda: calls.append(1)}, warmup_s=0.01, budget_s=0.1, min_rounds=1, clock=ticking()
    )
    assert len(calls) - len(samples["a"].durations_ns) >= 10
    assert len(samples["a"].durations_ns) > 10


def test_the_order_depends_on_the_seed():
    orders = []
    for _ in range(2):
        calls: list[str] = []
        variants = {name: (lambda name=name, calls=calls: calls.append(name)) for name in "abcd"}
        interleave(variants, warmup_s=0, budget_s=0, min_rounds=6, seed=3, clock=ticking())
        orders.append(calls)
    assert orders[0] == orders[1]


def test_nothing_to_time_is_refused():
    with pytest.raises(HarnessError, match="expected one variant and one round at least; got 0 variants"):
        interleave({}, warmup_s=0, budget_s=0, min_rounds=3)


def test_percentiles_are_in_milliseconds():
    samples = Samples(tuple(range(1_000_000, 102_000_000, 1_000_000)))
    assert samples.median_ms == 51
    assert samples.percentile_ms(90) == 91


def test_a_ratio_says_how_many_times_as_fast():
    base = Samples(tuple(3_000_000 + noise for noise in range(100)))
    other = Samples(tuple(1_000_000 + noise for noise in range(100)))
    speed = ratio(base, other)
    assert speed.low <= speed.value <= speed.high
    assert speed.value == pytest.approx(3, abs=0.01)
    assert speedup(speed) == speed.value
    assert ratio(base, other) == speed


def test_rounds_are_paired_so_that_a_slow_round_cancels():
    drift = [1_000_000 * (1 + step % 17) for step in range(60)]
    speed = ratio(Samples(tuple(2 * one for one in drift)), Samples(tuple(drift)))
    assert (speed.low, speed.high) == (2, 2)


def test_a_speedup_whose_interval_contains_one_is_refused():
    one = Samples(tuple(1_000_000 + 1000 * (step % 7) for step in range(50)))
    two = Samples(tuple(1_000_000 + 1000 * ((step + 3) % 7) for step in range(50)))
    assert speedup(ratio(one, two)) is None


def test_ratio_of_other_rounds_is_refused():
    with pytest.raises(HarnessError, match="expected samples of the same rounds; got 2 and 3"):
        ratio(Samples((1, 2)), Samples((1, 2, 3)))


def test_the_first_is_kept_unless_another_is_significantly_faster():
    slow, fast = Samples(tuple(range(2000, 2100))), Samples(tuple(range(1000, 1100)))
    assert choose_fastest({"one": slow, "two": fast}).name == "two"
    assert choose_fastest({"one": fast, "two": slow}).name == "one"
    same = choose_fastest({"one": slow, "two": Samples(tuple(reversed(slow.durations_ns)))})
    assert same.name == "one"
    assert "no difference" in same.reason
    assert choose_fastest({"only": slow}).reason == "'only' was the only variant"
