"""Benchmarks as pytest-benchmark tests whose samples were taken interleaved, and the record of a whole run.

pytest-benchmark times one test after another, so that a machine that slows down blames the last. Here a
group's variants are timed round by round together, when its first test asks; each test then hands
pytest-benchmark its samples, by a clock that runs through them. ``--record FOLDER`` writes what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.interleaved import Group, Measured, Replay, measure, table
from benchmarks.common.paths import ROOT
from benchmarks.common.recording import environment, write
from benchmarks.regression import instructions
from benchmarks.regression.compare import prepare
from benchmarks.regression.two_revisions import HEAD


class SampleClock:
    """A clock that a call moves on by the next sample."""

    def __init__(self) -> None:
        self.left: Iterator[int] = iter(())
        self.now_s = 0.0

    def read(self) -> float:
        """Gives the time, in seconds."""
        return self.now_s

    def step(self) -> None:
        """Runs for as long as the next sample."""
        self.now_s += next(self.left) / 1e9


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds where the record goes."""
    parser.addoption("--record", type=Path, default=None, help="the folder the record is written to")
    parser.addoption("--budget-s", type=float, default=3.0, help="seconds for all variants of one group")


def pytest_configure(config: pytest.Config) -> None:
    """Begins with nothing measured."""
    config.stash[_MEASURED] = {}
    config.stash[_COUNTS] = {}


_MEASURED: pytest.StashKey[dict[str, Measured]] = pytest.StashKey()
_COUNTS: pytest.StashKey[dict[str, int]] = pytest.StashKey()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Gives the folder of the specimens; what can be counted of them is counted."""
    made = tmp_path_factory.mktemp("specimens")
    counted = prepare({HEAD: ROOT}, made)[HEAD]
    if pytestconfig.getoption("--record") and not instructions.missing():
        counted |= instructions.count(ROOT)
    pytestconfig.stash[_COUNTS].update(counted)
    return made / HEAD


@pytest.fixture
def replay(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Replay:
    """Gives a function that hands pytest-benchmark a variant's samples, and gives what its group measured."""

    def run(group: Group, variant: str) -> Measured:
        known = pytestconfig.stash[_MEASURED]
        if group.name not in known:
            known[group.name] = measure(group, budget_s=pytestconfig.getoption("--budget-s"))
        found = known[group.name]
        clock, durations = SampleClock(), found.samples[variant].durations_ns
        request.node.add_marker(pytest.mark.benchmark(timer=clock.read, group=group.name))
        benchmark = request.getfixturevalue("benchmark")
        benchmark.extra_info.update(found.facts[variant])
        clock.left = iter(durations)
        benchmark.pedantic(clock.step, rounds=len(durations))
        return found

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the ratios, and writes the record."""
    measured = config.stash[_MEASURED]
    if not measured:
        return
    lines = [line for one in measured.values() for line in table(one)]
    terminalreporter.write_line("\n".join(lines))
    folder = config.getoption("--record")
    if folder:
        groups = [asdict(one) for one in measured.values()]
        counts = config.stash[_COUNTS]
        numbers = {"groups": groups, "counts": counts}
        path = write(folder, "bench", environment("cpu"), numbers, [*lines, *count_lines(counts)])
        terminalreporter.write_line(f"written: {path}")


def count_lines(counted: Mapping[str, int]) -> list[str]:
    """Gives the counts as a Markdown table; none where nothing was counted."""
    if not counted:
        return []
    rows = [f"| {name} | {value:,} |" for name, value in counted.items()]
    return ["### Counts", "", "| count | |", "|---|---:|", *rows, ""]
