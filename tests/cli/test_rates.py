"""The rate of a running stage, as its line shows it."""

from __future__ import annotations

import pytest

from harness.cli.watch import _RunningStage


@pytest.fixture
def running():
    return _RunningStage(bar=0, printed_s=0.0)


def test_rate_follows_the_last_minute_and_not_a_slow_beginning(running):
    assert running.measure_rate(0.0, 0) is None
    slow = [running.measure_rate(float(second), 10 * second) for second in range(1, 301)]
    assert slow[-1] == pytest.approx(10)
    fast = [running.measure_rate(300.0 + second, 3000 + 1000 * second) for second in range(1, 121)]
    assert 10 < fast[10] < 1000
    assert fast[-1] == pytest.approx(1000)
    assert len(running.marks) < 100


def test_rate_is_counted_again_when_a_stage_begins_again(running):
    for second in range(10):
        running.measure_rate(float(second), 50 * second)
    assert running.measure_rate(10.0, 0) is None
    assert running.measure_rate(12.0, 100) == pytest.approx(50)


def test_many_reports_a_second_keep_few_marks(running):
    for number in range(20_000):
        running.measure_rate(number / 1000, number)
    assert running.measure_rate(20.0, 20_000) == pytest.approx(1000)
    assert len(running.marks) < 60
