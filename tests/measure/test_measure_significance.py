"""Compare two models in planted cases, where the truth is known."""

from __future__ import annotations

import random
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from harness.errors import HarnessError
from harness.measure.interval import Interval
from harness.measure.scores import Tally, score, tally, tally_all
from harness.measure.significance import (
    ROUNDS,
    choose_rounds,
    compare,
    compare_predictions,
    holm,
    interval,
    randomise,
    replicate,
    resample_items,
    sample,
    verdict,
    wilcoxon,
)
from harness.verdict import Verdict

LABELS = ["a", "b", "c"]
SAME = get_args(Verdict)[-1]


def accuracy_tally(right_N) -> Tally:
    counts_NK = np.stack([np.asarray(right_N, float), np.ones(len(right_N))], axis=1)
    return Tally(counts_NK, lambda sums: sums[..., 0] / sums[..., 1])


def planted(generator, *, better: int, worse: int, num_items: int = 1000):
    """Return two models that differ on ``better + worse`` items, the one right on ``better`` of them."""
    right_N = generator.random(num_items) < 0.8
    one_N, other_N = right_N.copy(), right_N.copy()
    apart = generator.choice(num_items, better + worse, replace=False)
    one_N[apart], other_N[apart] = np.arange(len(apart)) < better, np.arange(len(apart)) >= better
    return [accuracy_tally(one_N)], [accuracy_tally(other_N)]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "span_f1"])
def test_equal_predictions_compare_as_equal(metric: str):
    drawn = random.Random(3)
    draw = lambda: [drawn.choices(["B-x", "I-x", "B-y", "O"], k=4) for _ in range(40)]  # noqa: E731
    gold, seeds = draw(), [draw(), draw(), draw()]
    comparison = compare_predictions(metric, gold, seeds, seeds)
    assert comparison.difference.value == 0
    assert not comparison.difference.excludes(0)
    assert comparison.retention is None or comparison.retention.value == 1
    assert comparison.p_value == comparison.p_wilcoxon == 1
    assert comparison.verdict(comparison.p_value) == SAME


@pytest.mark.parametrize("num_rows", [1, 50, 51, 251, 5000])
def test_a_table_of_any_length_can_show_a_difference(num_rows: int):
    rounds = choose_rounds(num_rows)
    assert rounds >= ROUNDS
    assert max(holm([1 / (rounds + 1)] * num_rows)) < 0.01


def test_equal_models_differ_significantly_at_most_as_often_as_the_level():
    generator = np.random.default_rng(11)
    rejected = []
    for trial in range(1000):
        better = int(generator.binomial(60, 0.5))
        one, other = planted(generator, better=better, worse=60 - better)
        rejected.append(randomise(one, other, rounds=500, seed=trial) < 0.05)
    assert 0.02 <= np.mean(rejected) <= 0.06


def test_the_power_is_that_of_the_sign_test():
    generator = np.random.default_rng(12)
    rejected, sign_test = [], []
    for trial in range(1000):
        better = 30 + int(generator.binomial(40, 0.5))
        one, other = planted(generator, better=better, worse=70 - better)
        rejected.append(randomise(one, other, rounds=500, seed=trial) < 0.05)
        sign_test.append(stats.binomtest(better, 70).pvalue < 0.05)
    assert np.mean(rejected) > 0.9
    assert np.mean(rejected) == pytest.approx(np.mean(sign_test), abs=0.03)


def test_thirty_items_won_and_none_lost_are_significant():
    one, other = planted(np.random.default_rng(1), better=30, worse=0)
    comparison = compare(*sample([one, other]))
    assert comparison.difference.value == pytest.approx(0.03)
    assert comparison.difference.low > 0
    assert comparison.p_value == pytest.approx(1 / 5001)
    assert comparison.verdict(comparison.p_value) == "better"
    assert compare(*sample([other, one])).verdict(comparison.p_value) == "worse"


def test_the_verdict_errs_at_most_as_often_as_the_level_over_seeds_too():
    generator = np.random.default_rng(5)
    wrong = 0
    for trial in range(300):
        seeds = [
            [accuracy_tally(generator.random(150) < 0.75 + 0.03 * generator.standard_normal()) for _ in "123"]
            for _ in "ab"
        ]
        comparison = compare(*sample(seeds, resamples=200, seed=trial), rounds=200, seed=trial)
        wrong += comparison.verdict(comparison.p_value) != SAME
    assert wrong / 300 <= 0.06


def test_the_interval_over_items_and_seeds_covers_the_truth():
    generator = np.random.default_rng(8)
    items_RN = resample_items(400, resamples=300)
    covered = {"both": 0, "items": 0}
    for trial in range(200):
        levels = 0.7 + 0.05 * generator.standard_normal(5)
        tallies = [accuracy_tally(generator.random(400) < level) for level in levels]
        pooled = [accuracy_tally(np.mean([one.counts_NK[:, 0] for one in tallies], axis=0))]
        for name, model in (("both", tallies), ("items", pooled)):
            low, high = np.quantile(replicate(model, items_RN, seed=trial), [0.025, 0.975])
            covered[name] += bool(low <= 0.7 <= high)
    assert covered["items"] / 200 < 0.7
    assert covered["both"] / 200 > 0.85


def test_the_spread_over_seeds_is_that_of_their_mean():
    generator = np.random.default_rng(2)
    values = generator.random(4)
    tallies = [accuracy_tally(np.full(50, value)) for value in values]
    replicates = replicate(tallies, resample_items(50, resamples=20_000))
    assert replicates.std() == pytest.approx(values.std(ddof=1) / 2, rel=0.03)


def test_the_numbers_of_seeds_do_not_affect_an_average_over_tasks():
    """Seed 1 of one task has nothing to do with seed 1 of the next: what they add must not depend on it."""
    levels = {"first": [0.6, 0.8], "second": [0.6, 0.8]}
    widths = []
    for second in (levels["second"], levels["second"][::-1]):
        tasks = [
            sample([[accuracy_tally(np.full(50, level)) for level in seeds]], seed=place)[0]
            for place, seeds in enumerate((levels["first"], second))
        ]
        widths.append(np.mean([one.replicates_R for one in tasks], axis=0).std())
    assert widths[0] == pytest.approx(widths[1], rel=0.1)
    assert widths[0] == pytest.approx(0.1 / np.sqrt(2), rel=0.1)


def test_one_seed_has_the_interval_over_items():
    right = np.random.default_rng(0).random(200) < 0.6
    one = accuracy_tally(right)
    assert interval([one]) == one.interval()


def test_macro_f1_is_exchanged_over_one_set_of_classes():
    gold, one, other = ["a", "b", "a", "b"], ["a", "b", "a", "b"], ["a", "c", "a", "c"]
    first, second = tally_all("macro_f1", gold, [one, other])
    assert first.counts_NK.shape == second.counts_NK.shape
    assert (first.value, second.value) == (score("macro_f1", gold, one), score("macro_f1", gold, other))
    mixed = first.counts_NK.copy()
    mixed[1] = second.counts_NK[1]
    swapped = score("macro_f1", gold, ["a", "c", "a", "b"])
    assert float(first.finish(mixed.sum(axis=0))) == pytest.approx(swapped)


def test_every_exchange_of_three_items_is_counted_as_by_hand():
    one, other = [accuracy_tally([1, 1, 1, 0])], [accuracy_tally([0, 0, 1, 0])]
    # two items differ: of the four exchanges two are as far apart as what was seen
    assert randomise(one, other, rounds=20_000) == pytest.approx(0.5, abs=0.02)


def test_p_values_are_the_same_in_blocks_and_for_the_same_seed(monkeypatch):
    one, other = planted(np.random.default_rng(4), better=20, worse=10)
    assert randomise(one, other, seed=3) == randomise(one, other, seed=3)
    whole = randomise(one, other, seed=3)
    monkeypatch.setattr("harness.measure.significance._BLOCK", 1000)
    assert randomise(one, other, seed=3) == pytest.approx(whole, abs=0.02)


def test_wilcoxon_agrees_with_scipy_on_items_own_scores():
    generator = np.random.default_rng(9)
    one, other = ([accuracy_tally(generator.random(80)) for _ in "12"] for _ in "ab")
    means = [np.mean([t.counts_NK[:, 0] for t in model], axis=0) for model in (one, other)]
    assert wilcoxon(one, other) == pytest.approx(stats.wilcoxon(*means).pvalue)


def test_retention_is_a_share_with_its_interval_or_none():
    generator = np.random.default_rng(6)
    whole, part = generator.random(400) < 0.9, generator.random(400) < 0.8
    retention = compare(*sample([[accuracy_tally(part)], [accuracy_tally(whole)]])).retention
    assert retention is not None
    assert retention.value == pytest.approx(part.mean() / whole.mean())
    assert retention.low < retention.value < retention.high < 1
    nothing = [accuracy_tally(np.zeros(400))]
    assert compare(*sample([[accuracy_tally(part)], nothing])).retention is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "words"),
    [
        (0.01, 0.03, 0.01, "better"),
        (-0.03, -0.01, None, "worse"),
        (-0.01, 0.05, 0.001, SAME),
        (0.0, 0.05, 0.001, SAME),
        (0.01, 0.03, 0.2, SAME),
    ],
)
def test_no_verdict_where_the_interval_contains_zero_or_the_test_disagrees(low, high, p_holm, words):
    assert verdict(Interval((low + high) / 2, low, high), p_holm) == words


def test_a_model_of_one_seed_is_paired_with_each_seed_of_the_other():
    generator = np.random.default_rng(3)
    many = [accuracy_tally(generator.random(60) < 0.7) for _ in range(3)]
    one = [accuracy_tally(generator.random(60) < 0.2)]
    assert randomise(many, one) == randomise(many, one * 3) < 0.01
    with pytest.raises(HarnessError, match="expected as many seeds of both models, or one; got 3 and 2"):
        randomise(many, many[:2])
    with pytest.raises(HarnessError, match="compare: expected all models on the same items; got 60 and 50"):
        sample([many, [tally("accuracy", ["a"] * 50, ["a"] * 50)]])
