from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.measure import environment, memory
from harness.pipeline import memory as pipeline_memory


def test_describe_is_plain_data_with_every_version():
    described = environment.describe()
    assert json.loads(json.dumps(described)) == described
    assert set(described["versions"]) == {*environment.PACKAGES, "harness"}
    assert described["versions"]["numpy"] == np.__version__
    assert described["cores"] >= 1
    assert described["memory_bytes"] > 2**20


def test_describe_is_cheap_and_imports_no_torch():
    code = (
        "import sys, time; from harness.measure import environment; start = time.perf_counter(); "
        "described = environment.describe(); assert described['gpu'] is None; "
        "assert 'torch' not in sys.modules; print(time.perf_counter() - start)"
    )
    described = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(described.stdout) < 2


def test_commit_and_dirty_come_from_the_checkout_alone(tmp_path: Path):
    def git(*words: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *named, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    described = environment.describe(tmp_path)
    assert (described["commit"], described["dirty"]) == (None, None)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    described = environment.describe(tmp_path)
    assert (described["commit"], described["dirty"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "new").write_text("x")
    assert environment.describe(tmp_path)["dirty"] is True
    below = tmp_path / "below"
    below.mkdir()
    assert environment.describe(below)["commit"] is None


@pytest.mark.parametrize(("dirty", "expected"), [("", False), ("1", True)])
def test_outside_a_checkout_the_environment_may_name_the_commit(dirty, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_COMMIT", "abc")
    monkeypatch.setenv("HARNESS_DIRTY", dirty)
    described = environment.describe(tmp_path)
    assert (described["commit"], described["dirty"]) == ("abc", expected)


def test_unknown_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(environment, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package",))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    described = environment.describe()
    assert described["isa"] is None
    assert described["versions"]["no-such-package"] is None
    assert described["threads"] is None


def test_a_peak_is_that_of_the_block_alone():
    with memory.peak_memory() as large:
        held = np.ones(40 * 2**17)
        held += 1
    assert large.grown_bytes is not None
    assert large.grown_bytes > 30 * 2**20
    del held  # the allocator may keep the memory, so that only what a block adds can be compared
    with memory.peak_memory() as small:
        pass
    assert small.grown_bytes is not None
    assert small.grown_bytes < 10 * 2**20


def test_an_unknown_peak_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(pipeline_memory, "_CLEAR", tmp_path / "no-folder" / "clear_refs")
    monkeypatch.setattr(memory, "_high_water_bytes", lambda: 7)
    with memory.peak_memory() as peak:
        pass
    assert peak.peak_bytes is None
    assert peak.grown_bytes is None
