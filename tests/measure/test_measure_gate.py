from __future__ import annotations

import json

import pytest

from harness.measure.gate import compare_copy

GOLD = ["a", "b"] * 100


def wrong(labels: list[str], number: int) -> list[str]:
    return [("a" if one == "b" else "b") if n < number else one for n, one in enumerate(labels)]


def test_a_large_and_significant_fall_fails():
    verdict = compare_copy("accuracy", GOLD, GOLD, wrong(GOLD, 20), part="dev")
    assert not verdict.passed
    assert verdict.drop == pytest.approx(0.1)
    assert 0 < verdict.low < 0.1 < verdict.high
    assert "accuracy on dev fell by 10.00 points" in verdict.reason
    assert json.loads(json.dumps(verdict.record()))["num_items"] == 200


def test_an_allowed_fall_and_a_rise_pass():
    assert compare_copy("accuracy", GOLD, GOLD, wrong(GOLD, 1), part="dev").passed
    assert compare_copy("accuracy", GOLD, wrong(GOLD, 20), GOLD, part="dev").drop == pytest.approx(-0.1)
    assert compare_copy("accuracy", GOLD, GOLD, wrong(GOLD, 20), part="dev", allowed=0.2).passed


def test_an_insignificant_fall_of_few_items_passes():
    original = wrong(GOLD[:20], 1)
    copy = [*GOLD[:1], *wrong(GOLD[1:20], 2)]
    verdict = compare_copy("accuracy", GOLD[:20], original, copy, part="dev")
    assert verdict.drop > 0.005
    assert verdict.low <= 0
    assert verdict.passed
    assert verdict.reason.endswith("but so few items show no significant difference")


def test_the_interval_is_paired():
    hard = wrong(GOLD, 90)
    verdict = compare_copy("accuracy", GOLD, hard, list(hard), part="dev")
    assert (verdict.drop, verdict.low, verdict.high) == (0, 0, 0)
