"""The threads of a process: the processors, the quota, the load, and what the user asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from harness.cli import threads
from harness.cli.threads import ThreadChoice, choose_threads, describe_threads, select_threads, use_threads
from harness.limits import Limits


@dataclass(frozen=True)
class Machine(Limits):
    """A machine with fixed limits, all of whose processors this process may use."""

    processors: int = 8
    quota: float | None = None
    running: float = 0.0

    def count_processors(self):
        return self.processors

    def read_cpu_quota(self):
        return self.quota

    def count_running(self):
        return self.running


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


@pytest.mark.parametrize(
    ("asked", "quota", "variables", "number"),
    [
        (None, None, {}, None),
        (None, 8.0, {}, None),
        (None, 16.0, {}, None),
        (None, 3.5, {}, 3),
        (None, 0.4, {}, 1),
        (2, None, {}, 2),
        (2, 4.0, {"OMP_NUM_THREADS": "1"}, 2),
        (None, 4.0, {"OMP_NUM_THREADS": "1"}, 1),
        (None, 4.0, {"OMP_NUM_THREADS": "2,1"}, 2),
        (None, 4.0, {"OMP_NUM_THREADS": "many"}, 4),
    ],
)
def test_the_number_follows_the_quota_and_the_user(asked, quota, variables, number):
    choice = choose_threads(asked, Machine(quota=quota), variables)
    assert (choice.number, choice.warning) == (number, "")


@pytest.mark.parametrize(
    ("asked", "quota", "warning"),
    [
        (9, None, "expected at most 8 threads, the processors that this process may use; got 9: they will"),
        (
            3,
            2.5,
            "expected at most 2 threads, the whole processors of the quota; got 3: they will",
        ),
    ],
)
def test_more_threads_than_may_run_are_warned_of(asked, quota, warning):
    choice = choose_threads(asked, Machine(quota=quota), {})
    assert choice.warning.startswith(warning)
    assert (choice.number, choice.passive) == (asked, True)


@pytest.mark.parametrize(
    ("asked", "quota", "running", "variables", "passive"),
    [
        (None, None, 0.0, {}, False),
        (None, None, 0.5, {}, False),
        (None, None, 2.0, {}, True),
        (4, None, 4.5, {}, False),
        (4, None, 5.0, {}, True),
        (1, None, 99.0, {}, False),
        (None, 2.0, 3.0, {}, False),
        (None, None, 99.0, {"OMP_WAIT_POLICY": "ACTIVE"}, False),
        (None, None, 0.0, {"OMP_WAIT_POLICY": "PASSIVE"}, True),
        (None, None, 99.0, {"GOMP_SPINCOUNT": "1000"}, False),
        (None, None, 0.0, {"GOMP_SPINCOUNT": "0"}, True),
    ],
)
def test_threads_sleep_while_they_wait_where_processors_are_shared(asked, quota, running, variables, passive):
    assert choose_threads(asked, Machine(quota=quota, running=running), variables).passive is passive


def test_a_part_of_a_loaded_machine_has_a_part_of_its_load(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert not choose_threads(None, Machine(running=4.0), {}).passive
    assert choose_threads(None, Machine(running=32.0), {}).passive


@pytest.mark.parametrize(
    ("choice", "before", "after"),
    [
        (ThreadChoice(None, passive=False, reason=""), {}, {}),
        (ThreadChoice(None, passive=True, reason=""), {}, {"OMP_WAIT_POLICY": "passive"}),
        (ThreadChoice(None, passive=True, reason=""), {"GOMP_SPINCOUNT": "0"}, {"GOMP_SPINCOUNT": "0"}),
        (
            ThreadChoice(None, passive=True, reason=""),
            {"OMP_WAIT_POLICY": "PASSIVE"},
            {"OMP_WAIT_POLICY": "PASSIVE"},
        ),
    ],
)
def test_the_variables_of_the_user_stay(choice, before, after):
    variables = dict(before)
    use_threads(choice, variables)
    assert variables == after


def test_a_number_serves_a_torch_that_is_loaded(monkeypatch):
    numbers = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    variables = {}
    use_threads(ThreadChoice(3, passive=False, reason=""), variables)
    assert (numbers, variables) == ([3], {"OMP_NUM_THREADS": "3"})


def test_a_command_warns_and_takes_the_number(monkeypatch):
    used, lines = [], []
    monkeypatch.setattr(threads, "use_threads", used.append)
    select_threads(None, lines.append)
    assert used == []
    select_threads(10**6, lines.append)
    assert used[0].number == 10**6
    assert lines[0].startswith("--threads: expected at most ")


def test_a_description_names_number_quota_and_waiting():
    machine = Machine(quota=2.5, running=9.0)
    described = describe_threads(choose_threads(None, machine, {}), machine)
    assert (
        described
        == "2 of 8 processors, quota 2.5; asleep while they wait (9.0 other tasks want 8 processors)"
    )
    machine = Machine()
    described = describe_threads(choose_threads(None, machine, {}), machine)
    assert described == (
        "torch's default of 8 processors; spinning while they wait (0.0 other tasks want 8 processors)"
    )


def test_the_variables_are_set_before_torch_is_loaded():
    script = (
        "import os, sys, harness.cli as cli; assert 'torch' not in sys.modules; cli._prepare_process(); "
        "assert 'torch' not in sys.modules; "
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['OMP_NUM_THREADS'])"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=variables | {"OMP_NUM_THREADS": "99999"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["passive", "99999"]
