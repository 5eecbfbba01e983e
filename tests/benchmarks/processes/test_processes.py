"""The comparison of processes: the worker trains, variants differ in their environment, tables say it."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext

import pytest

from benchmarks.processes import compare
from benchmarks.processes.worker import SHAPE, run_training


def test_the_worker_trains_and_measures():
    shape = SHAPE.model_copy(update={"layers": 1, "hidden": 8, "heads": 1, "ffn": 8})
    figures = run_training(3, 600, shape)
    assert figures["steps"] == 3
    assert 2 * 600 < figures["tokens"] <= 3 * 600
    assert list(figures["peak_bytes"]) == [1, 2, 3]
    assert min(figures["peak_bytes"].values()) > 10**8
    assert figures["wall_s"] > 0
    assert figures["faults"] >= 0


@pytest.fixture
def environments(monkeypatch):
    """Return the environments of the workers, which train nothing."""
    seen = []

    real = subprocess.run

    def run(command, env=None, **settings):
        if "benchmarks.processes.worker" not in command:
            return real(command, env=env, **settings)
        seen.append({name: env[name] for name in compare._NAMES if name in env})
        printed = (
            '{"tokens": 100, "wall_s": 2.0, "cpu_s": 1.0, "faults": 7, "peak_bytes": {"1": 5}, "loss": 3}\n'
        )
        return type("Done", (), {"stdout": printed})()

    monkeypatch.setattr(compare.subprocess, "run", run)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    return seen


def test_every_variant_has_its_own_environment_each_round(environments, capsys):
    assert compare.compare_memory(["--steps", "1", "--rounds", "2"]) == 0
    expected = [{**variables, "OMP_NUM_THREADS": "1"} for variables in compare.MEMORY.values()]
    assert len(environments) == 8
    assert all(environments.count(one) == 2 for one in expected)
    printed = capsys.readouterr().out
    assert "| pool | 5 B | 100 | 1.00x (1.00–1.00; fastest 1.00x) | 0.00 million |" in printed
    assert "Losses of all variants: equal." in printed


def test_processes_keep_processors_busy_for_a_while(monkeypatch):
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given: started.append(real(*given)) or started[-1])
    with compare.keep_busy(2):
        assert [process.poll() for process in started] == [None, None]
    assert None not in [process.poll() for process in started]


def test_threads_are_compared_while_others_are_busy(environments, tmp_path, capsys, monkeypatch):
    busy = []
    monkeypatch.setattr(compare, "keep_busy", lambda number: busy.append(number) or nullcontext())
    assert compare.main(["threads", "--rounds", "1", "--busy", "2", "--record", str(tmp_path)]) == 0
    assert busy == [2]
    assert {} in environments
    assert {"OMP_WAIT_POLICY": "passive"} in environments
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert "| passive waiting | 50 | 1.00x" in capsys.readouterr().out
    assert len([*tmp_path.glob("threads_*.json")]) == 1
