"""Processes that train together: started by an option or by torchrun, and refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from harness import cli
from harness.cli import processes
from harness.cli.device import select_device
from harness.cli.processes import start_processes
from harness.config.load import load_recipe, load_scale
from harness.errors import HarnessError, UsageError
from harness.plans.run import plan_run
from harness.plans.shared_batches import count_rows, refuse_unshareable


@pytest.fixture
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "_launch", lambda number: 40 + number)


def test_one_process_starts_no_other(alone):
    start_processes(None)
    start_processes(1)


def test_several_processes_are_started(alone):
    with pytest.raises(typer.Exit) as ended:
        start_processes(2)
    assert ended.value.exit_code == 42


def test_one_of_several_processes_goes_on(alone, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    start_processes(None)
    start_processes(4)
    with pytest.raises(UsageError, match="expected 4, the number that torchrun has started; got 2; leave it"):
        start_processes(2)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({0: 75, 1: -9}, "got SIGKILL in process 1, and the others were stopped; run the same command again"),
        ({0: -15, 1: 75}, "got a lost connection in process 1"),
        ({0: -15, 1: 75, 2: 2}, 2),
        ({0: 1, 1: 75}, 1),
    ],
)
def test_the_process_that_failed_first_is_named(codes, expected):
    failures = {
        rank: SimpleNamespace(exitcode=code, timestamp=-rank, signal_name=lambda: "SIGKILL")
        for rank, code in codes.items()
    }
    if isinstance(expected, int):
        assert processes._explain_failures(len(codes), failures) == expected
        return
    with pytest.raises(HarnessError, match=expected):
        processes._explain_failures(len(codes), failures)


@pytest.mark.parametrize(
    ("visible", "place", "expected"),
    [("", 1, "1"), ("4,6", 1, "6"), ("4,6", 2, "")],
)
def test_each_process_sees_one_gpu(monkeypatch, visible, place, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    select_device("auto", place)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
    with pytest.raises(UsageError, match="--device cuda:0: expected auto, cpu or cuda for several processes"):
        select_device("cuda:0", place)


def test_no_more_processes_than_rows():
    plan = plan_run("mt", load_recipe("gurgurov2025"), load_scale("mini")).plan
    rows = {stage.kind: count_rows(stage) for stage in plan if count_rows(stage) is not None}
    assert rows == {"pretrain": 16, "adapt": 16, "distill": 16, "score": 16}
    refuse_unshareable(plan, 16)
    with pytest.raises(UsageError, match="expected at most 16 processes, the rows of a batch; got 17; start"):
        refuse_unshareable(plan, 17)


def test_several_processes_refuse_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "reproduce", "mt", "--scale", "none.yaml", "--processes", "2"],
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("harness: none.yaml: expected a scale file")
    assert done.stderr.count("\n") == 1
