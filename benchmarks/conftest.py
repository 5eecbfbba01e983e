"""Benchmarks as pytest-benchmark tests whose samples were taken interleaved, and the record of a whole run.

pytest-benchmark times one test after another, so that a machine that slows down blames the last. Here a
group's variants are timed round by round together, when its first test runs; each test then reports its
samples to pytest-benchmark, by a clock that runs through them. ``--record FOLDER`` writes the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.interleaved import Group, Measured, Replay, draw_table, measure
from benchmarks.common.paths import ROOT
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.regression import instructions
from benchmarks.regression.compare import prepare_models
from benchmarks.regression.two_revisions import HEAD


class SampleClock:
    """A clock that each call moves on by the next sample."""

    def __init__(self) -> None:
        self.left: Iterator[int] = iter(())
        self.now_s = 0.0

    def read(self) -> float:
        """Return the time, in seconds."""
        return self.now_s

    def step(self) -> None:
        """Move the clock on by the next sample."""
        self.now_s += next(self.left) / 1e9


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the record and of the time."""
    parser.addoption("--record", type=Path, default=None, help="the folder the record is written to")
    parser.addoption("--budget-s", type=float, default=3.0, help="seconds for all variants of one group")


def pytest_configure(config: pytest.Config) -> None:
    """Start with no measurement."""
    config.stash[_MEASURED] = {}
    config.stash[_COUNTS] = {}


_MEASURED: pytest.StashKey[dict[str, Measured]] = pytest.StashKey()
_COUNTS: pytest.StashKey[dict[str, int]] = pytest.StashKey()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Return the folder of the small models, which are counted too."""
    made = tmp_path_factory.mktemp("models")
    counted = prepare_models({HEAD: ROOT}, made)[HEAD]
    if pytestconfig.getoption("--record") and not instructions.list_missing_tools():
        counted |= instructions.count_instructions(ROOT)
    pytestconfig.stash[_COUNTS].update(counted)
    return made / HEAD


@pytest.fixture
def replay(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Replay:
    """Return a function that reports a variant's samples to pytest-benchmark, and returns the group's."""

    def run(group: Group, variant: str) -> Measured:
        known = pytestconfig.stash[_MEASURED]
        if group.name not in known:
            known[group.name] = measure(group, budget_s=pytestconfig.getoption("--budget-s"))
        measured = known[group.name]
        clock, durations = SampleClock(), measured.samples[variant].durations_ns
        request.node.add_marker(pytest.mark.benchmark(timer=clock.read, group=group.name))
        benchmark = request.getfixturevalue("benchmark")
        benchmark.extra_info.update(measured.facts[variant])
        clock.left = iter(durations)
        benchmark.pedantic(clock.step, rounds=len(durations))
        return measured

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the ratios, and write the record."""
    measured = config.stash[_MEASURED]
    if not measured:
        return
    lines = [line for one in measured.values() for line in draw_table(one)]
    terminalreporter.write_line("\n".join(lines))
    folder = config.getoption("--record")
    if folder:
        groups = [asdict(one) for one in measured.values()]
        counts = config.stash[_COUNTS]
        numbers = {"groups": groups, "counts": counts}
        lines += draw_counts(counts)
        path = write_record(folder, "bench", describe_environment("cpu"), numbers, lines)
        terminalreporter.write_line(f"written: {path}")


def draw_counts(counted: Mapping[str, int]) -> list[str]:
    """Return the counts as a Markdown table; no lines where nothing was counted."""
    if not counted:
        return []
    rows = [f"| {name} | {value:,} |" for name, value in counted.items()]
    return ["### Counts", "", "| count | |", "|---|---:|", *rows, ""]
