"""A group's variants are timed in the same rounds, and a speed counts only if enough answers are right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.interleaved import Group, draw_table, is_accurate, measure
from benchmarks.regression.scenarios import Offline, Query, SingleStream, SingleTexts, make_batch

ROOT = Path(__file__).parents[3]
QUERIES = [Query((2, 7, 3), 0), Query((2, 3), 1), Query((2, 8, 9, 3), 2), Query((2, 9, 3), 0)]


def make_answers(right):
    """Return a model that answers a query's label by its second id, or another label."""
    labels = {7: 0, 3: 1, 8: 2, 9: 0}

    def answer(batch):
        said = [labels[int(row[1])] if right(row) else 3 for row in batch["input_ids"]]
        return np.eye(4, dtype=np.float32)[said]

    return answer


def test_queries_are_padded():
    batch = make_batch(QUERIES[:2], 0)
    assert batch["input_ids"].tolist() == [[2, 7, 3], [2, 3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_single_stream_asks_one_query_a_call():
    sizes = []
    inner = make_answers(lambda row: len(row) != 4)

    def answer(batch):
        sizes.append(batch["input_ids"].shape)
        return inner(batch)

    step = SingleStream(answer, QUERIES, 0)
    for _ in range(3):
        step()
    assert step.accuracy() is None
    step()
    assert step.accuracy() == 0.75
    step()
    assert sizes == [(1, 3), (1, 2), (1, 4), (1, 3), (1, 3)]


def test_each_call_asks_the_same_texts_from_short_to_long():
    sizes = []
    inner = make_answers(lambda _: True)

    def answer(batch):
        sizes.append(batch["input_ids"].shape)
        return inner(batch)

    step = SingleTexts(answer, QUERIES, 0, num_queries=3)
    step()
    first = list(sizes)
    assert first == [(1, 2), (1, 3), (1, 4)]
    step()
    assert sizes == first + first


def test_offline_asks_all_queries_shortest_first():
    sizes = []
    inner = make_answers(lambda _: True)

    def answer(batch):
        sizes.append(batch["input_ids"].shape)
        return inner(batch)

    step = Offline(answer, QUERIES, 0, batch_size=3)
    assert step.accuracy() is None
    step()
    assert sizes == [(3, 3), (1, 4)]
    assert step.accuracy() == 1


@pytest.mark.parametrize(
    ("accuracy", "reference", "expected"),
    [(0.792, 0.8, True), (0.791, 0.8, False), (None, 0.8, False), (0.8, None, False)],
)
def test_speed_counts_at_99_percent_of_the_accuracy(accuracy, reference, expected):
    assert is_accurate(accuracy, reference) is expected


@pytest.fixture
def group():
    """The second variant answers one query in four wrongly."""

    def make():
        return {
            "right": Offline(make_answers(lambda _: True), QUERIES, 0),
            "wrong": Offline(make_answers(lambda row: 8 not in row), QUERIES, 0),
        }

    return Group("encoders: a group", make, {"": 4}, "queries", {"right": "right", "wrong": "right"})


def test_variants_are_measured_in_the_same_rounds(group):
    measured = measure(group, budget_s=0.01, warmup_s=0)
    assert len({len(one.durations_ns) for one in measured.samples.values()}) == 1
    assert [measured.facts[name]["accuracy"] for name in ("right", "wrong")] == [1.0, 0.75]
    assert [measured.facts[name]["valid"] for name in ("right", "wrong")] == [True, False]
    facts = measured.facts["right"]
    assert facts["p50_ms"] <= facts["p90_ms"] <= facts["p99_ms"]
    assert facts["per_s"] == pytest.approx(4 / (facts["p50_ms"] / 1e3))
    assert facts["ratio_to_first"] == (1, 1, 1)


def test_table_marks_speeds_that_do_not_count(group):
    lines = draw_table(measure(group, budget_s=0.01, warmup_s=0))
    assert lines[0] == "### encoders: a group"
    assert "queries a second" in lines[2]
    right, wrong = lines[4:6]
    assert right.endswith("| 100.0 % |")
    assert wrong.endswith("| 75.0 %, too low: its speed does not count |")


def test_steps_without_answers_have_no_accuracy():
    measured = measure(Group("ops: one", lambda: {"one": lambda: None}), budget_s=0, warmup_s=0)
    assert (measured.facts["one"]["accuracy"], measured.facts["one"]["valid"]) == (None, None)
    assert draw_table(measured)[4].endswith("| – | – |")


PAIR = """
import pytest
from benchmarks.common.interleaved import Group

order = []
steps = {name: (lambda name=name: order.append(name)) for name in "ab"}
group = Group("ops: a pair", lambda: steps)


@pytest.mark.parametrize("variant", ["a", "b"])
def test_variant(replay, request, variant):
    measured = replay(group, variant)
    stats = request.getfixturevalue("benchmark").stats.stats
    assert stats.data == pytest.approx([one / 1e9 for one in measured.samples[variant].durations_ns])
    timed = order[-2 * len(stats.data) :]
    assert all(set(pair) == {"a", "b"} for pair in zip(timed[::2], timed[1::2]))
"""


def test_pytest_benchmark_reports_interleaved_samples(tmp_path):
    """A folder of benchmarks with this project's conftest, whose two variants share their rounds."""
    (tmp_path / "conftest.py").write_text("from benchmarks.conftest import *\n")
    (tmp_path / "test_pair.py").write_text(PAIR)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--record=records", "--budget-s=0", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        | {"PYTHONPATH": str(ROOT)},  # in a worker of xdist pytest-benchmark takes no times
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout
    assert "benchmark 'ops: a pair': 2 tests" in done.stdout
    assert "### ops: a pair" in done.stdout
    assert len(list((tmp_path / "records").glob("bench_*.md"))) == 1
