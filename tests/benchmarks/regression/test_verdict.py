"""The gate finds slowdowns and nothing else, on made-up timings of a busy machine."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.regression import two_revisions
from benchmarks.regression.two_revisions import BASE, HEAD, TURN_S, time_in_turns
from benchmarks.regression.verdict import classify, compare_counts, estimate_slowdown
from harness.errors import HarnessError
from harness.measure.interval import Interval

LAUNCHES, ROUNDS = 4, 12


def timings(seed, planted):
    """Return launches: each process is a few percent off; rounds drift; some turns are disturbed."""
    generator = np.random.default_rng(seed)
    launches = []
    for _ in range(LAUNCHES):
        luck = generator.normal(0, 0.02, 2)
        drift = generator.normal(0, 0.10, (ROUNDS, 1))
        noise = generator.normal(0, 0.015, (ROUNDS, 2))
        disturbed = (generator.random((ROUNDS, 2)) < 0.1) * generator.exponential(0.5, (ROUNDS, 2))
        logs = luck + drift + noise + disturbed + [0, np.log(planted)]
        launches.append([(1e6 * base, 1e6 * head) for base, head in np.exp(logs)])
    return launches


def are_slower(planted, seeds):
    """Return for each seed whether both timings are slower, as the command requires."""
    return [
        all(classify(estimate_slowdown(timings(2 * seed + look, planted))) == "slower" for look in (0, 1))
        for seed in seeds
    ]


def test_equal_revisions_always_pass():
    assert not any(are_slower(1.0, range(100)))


def test_slowdown_of_15_percent_fails_nine_times_of_ten():
    assert sum(are_slower(1.15, range(100))) >= 90


def test_slowdown_within_the_tolerance_passes():
    assert sum(are_slower(1.03, range(50))) <= 1


def test_gain_is_faster():
    assert classify(estimate_slowdown(timings(1, 1 / 1.3))) == "faster"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((1.20, 1.0499, 1.4), "same"),
        ((1.20, 1.0501, 1.4), "slower"),
        ((0.90, 0.80, 0.9523), "faster"),
        ((0.90, 0.80, 0.953), "same"),
    ],
)
def test_only_a_whole_interval_past_the_tolerance_counts(bounds, expected):
    assert classify(Interval(*bounds)) == expected


def test_estimate_is_the_mean_over_launches_of_median_ratios():
    launches = [[(10, 10), (10, 20), (10, 30)], [(10, 80), (1, 8), (5, 40)]]
    assert estimate_slowdown(launches).value == pytest.approx(4)
    bound = estimate_slowdown(launches)
    assert bound.low < 4 < bound.high
    assert estimate_slowdown(launches) == bound


def test_common_drift_cancels():
    even = [[(slow, 1.1 * slow) for slow in (1, 2, 50, 3)]] * 3
    assert (estimate_slowdown(even).low, estimate_slowdown(even).high) == pytest.approx((1.1, 1.1))


@pytest.mark.parametrize("launches", [[], [[(1, 1)], []]])
def test_no_rounds_are_refused(launches):
    with pytest.raises(HarnessError, match=r"^compare: expected launches with rounds; got"):
        estimate_slowdown(launches)


def test_counts_are_compared_exactly():
    base = {"parameters of student": 100, "operators of student": 7, "right answers of student": 50, "a": 1}
    head = {"parameters of student": 101, "operators of student": 6, "right answers of student": 49, "b": 2}
    assert {one.name: one.word for one in compare_counts(base, head)} == {
        "parameters of student": "worse",
        "operators of student": "better",
        "right answers of student": "worse",
        "a": "gone",
        "b": "new",
    }
    assert compare_counts(base, base) == []


def test_larger_count_is_accepted_by_name():
    (one,) = compare_counts({"operators of student": 7}, {"operators of student": 8}, ["operators*"])
    assert one.word == "accepted"
    (one,) = compare_counts({"operators of student": 7}, {"operators of student": 8}, ["parameters*"])
    assert one.word == "worse"


class Fake:
    """A worker whose step takes so many nanoseconds, and whose every third call is disturbed."""

    def __init__(self, log, name, taken_ns):
        self.log, self.name, self.taken_ns, self.calls = log, name, taken_ns, 0

    def ask(self, **command):
        self.log.append((self.name, command["name"], command["calls"]))
        durations = []
        for _ in range(command["calls"]):
            self.calls += 1
            durations.append(self.taken_ns * (5 if self.calls % 3 == 0 else 1))
        return {"durations_ns": durations}


def test_fastest_call_of_equal_turns_counts():
    log = []
    pair = {BASE: Fake(log, BASE, 2_000_000), HEAD: Fake(log, HEAD, 2_300_000)}
    taken = time_in_turns(pair, ["one", "two"], rounds=5, seed=1)
    assert taken == {name: [(2_000_000, 2_300_000)] * 5 for name in ("one", "two")}
    turns = log[4:]
    assert {calls for _, _, calls in turns} == {round(TURN_S * 1e9 / 2_000_000)}
    for first, second in zip(turns[::2], turns[1::2], strict=True):
        assert first[1] == second[1]
        assert {first[0], second[0]} == {BASE, HEAD}
    assert {first[0] for first in turns[::2]} == {BASE, HEAD}, "each goes first at times"


def test_number_of_calls_in_a_turn_is_bounded():
    for taken_ns, calls in ((10**9, 1), (10, two_revisions._MOST_CALLS)):
        log = []
        time_in_turns({BASE: Fake(log, BASE, taken_ns), HEAD: Fake(log, HEAD, 1)}, ["one"], rounds=1, seed=0)
        assert log[-1][2] == calls


@pytest.mark.parametrize(("taken_ms", "rounds"), [(1, 12), (100, 10), (900, 5)])
def test_long_steps_take_part_in_fewer_rounds(taken_ms, rounds):
    pair = {name: Fake([], name, taken_ms * 10**6) for name in (BASE, HEAD)}
    assert len(time_in_turns(pair, ["one"], rounds=12, seed=0)["one"]) == rounds
