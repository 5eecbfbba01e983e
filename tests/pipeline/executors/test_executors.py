"""Calls in processes of this machine, as Slurm's job arrays and as tasks of Ray: each once, and none lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.pipeline.executors import ray as executor
from harness.pipeline.executors.local import run_locally
from harness.pipeline.executors.ray import run_on_ray
from harness.pipeline.executors.slurm import JobArrays, submit, write_job_arrays

ROOT = Path(__file__).parents[3]
SBATCH = """#!/bin/bash
# In place of Slurm's sbatch: runs the jobs of an array one after the other, at once.
for word in "$@"; do
  case "$word" in
    --array=*) range=${word#--array=}; range=${range%%%*} ;;
    --export=ALL,*) export "${word#--export=ALL,}" ;;
    *.sbatch) file=$word ;;
  esac
done
echo "$@" >> "$SBATCH_LOG"
for id in $(seq "${range%-*}" "${range#*-}"); do SLURM_ARRAY_TASK_ID=$id bash "$file" >&2 || true; done
echo "$RANDOM"
"""


@pytest.fixture(autouse=True)
def _let_workers_import_tests(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def work(argument, send):
    """Note an attempt; be killed at some of them, or fail."""
    folder, name, kills = argument
    attempts = Path(folder) / name
    with attempts.open("a") as file:
        file.write("x")
    if attempts.stat().st_size <= kills:
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "wrong":
        raise HarnessError("wrong: no such thing")
    send(f"{name} works")
    return name.upper()


def make_jobs(folder, **kills):
    return {name: (str(folder), name, number) for name, number in kills.items()}


def test_local_jobs_go_on_after_a_job_that_fails_or_is_killed(tmp_path):
    jobs = make_jobs(tmp_path, one=0, wrong=0, twice=2, always=9, last=0)
    messages = list(run_locally(work, jobs, number=2, retries=2))
    results = {one.name: one.content for one in messages if one.kind == "result"}
    errors = {one.name: str(one.content) for one in messages if one.kind == "error"}
    assert results == {"one": "ONE", "twice": "TWICE", "last": "LAST"}
    assert errors.keys() == {"wrong", "always"}
    assert errors["wrong"] == "wrong: no such thing"
    assert errors["always"].startswith(
        "always: expected its worker process to finish; it was ended by SIGKILL"
    )
    lost = [one.content for one in messages if one.kind == "event" and one.name == "twice"]
    assert lost == ["its worker was ended by SIGKILL; it begins again"] * 2 + ["twice works"]
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {
        "one": 1, "wrong": 1, "twice": 3, "always": 3, "last": 1,
    }  # fmt: skip


def note(argument, send):
    send(argument)


def test_two_thousand_empty_jobs_end_soon():
    messages = list(run_locally(note, {str(n): n for n in range(2000)}, number=2, retries=0))
    assert sum(message.kind == "result" for message in messages) == 2000


@pytest.fixture
def arrays(tmp_path):
    """Return commands in two steps, and a last one, that write lines to a file."""

    def command(word):
        return ["bash", "-c", f'echo "{word}" >> "{tmp_path}/lines.txt"']

    cells = [command(f"cell {number}") for number in range(3)]
    timings = [command(f"timing {number}") for number in range(2)]
    return JobArrays("g", cells, timings, command("last it's"), at_once=2, cpus=4, gpus=1)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Put a script in place of Slurm's sbatch on the path; return its log."""
    (tmp_path / "bin").mkdir()
    file = tmp_path / "bin" / "sbatch"
    file.write_text(SBATCH)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_LOG", str(tmp_path / "log.txt"))
    return tmp_path / "log.txt"


def test_slurm_runs_cells_then_timings_then_the_last(arrays, sbatch, tmp_path):
    printed = submit(write_job_arrays(arrays, tmp_path / "a folder"))
    assert (tmp_path / "lines.txt").read_text().splitlines() == [
        "cell 0", "cell 1", "cell 2", "timing 0", "timing 1", "last it's",
    ]  # fmt: skip
    first, second, third = sbatch.read_text().splitlines()
    assert first == "--parsable --array=0-2%2 --export=ALL,FIRST=0 cells.sbatch"
    assert second.startswith("--parsable --dependency=afterany:")
    assert second.endswith(" --array=0-1%1 --export=ALL,FIRST=0 timings.sbatch")
    assert third.endswith("last.sbatch")
    assert printed.startswith("cells: 3 jobs, ")


def test_slurm_files_can_be_read_and_edited(arrays, tmp_path):
    script = write_job_arrays(arrays, tmp_path)
    cells, timings = tmp_path / "cells.sbatch", tmp_path / "timings.sbatch"
    settings = {line for line in cells.read_text().splitlines() if line.startswith("#SBATCH")}
    assert settings >= {"#SBATCH --cpus-per-task=4", "#SBATCH --gres=gpu:1", "#SBATCH --requeue"}
    assert "#SBATCH --exclusive" in timings.read_text()
    assert "#SBATCH --exclusive" not in cells.read_text()
    cells.write_text("edited")
    write_job_arrays(arrays, tmp_path)
    assert cells.read_text() == "edited"
    for file in (script, timings):
        assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0


def test_more_cells_than_an_array_holds_are_several_arrays(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.pipeline.executors.slurm.ARRAY_SIZE", 2)
    text = write_job_arrays(arrays, tmp_path).read_text()
    assert "--array=0-1%2 --export=ALL,FIRST=0 cells.sbatch" in text
    assert "--array=0-0%2 --export=ALL,FIRST=2 cells.sbatch" in text


def test_slurm_that_is_missing_or_refuses_is_one_line(arrays, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "seq"):
        (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(
        HarnessError, match=r"submit.sh: expected sbatch to take the jobs; got '.*not found'; edit"
    ):
        submit(write_job_arrays(arrays, tmp_path))


def test_ray_runs_each_job_and_retries_what_is_killed(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the executor ray needs: pip install ray")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    jobs = make_jobs(tmp_path, one=0, wrong=0, twice=2, always=9)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        many = {str(number): number for number in range(2000)}
        began_s = time.monotonic()
        assert sum(one.kind == "result" for one in run_on_ray(note, many, cpus=1, gpus=0, retries=0)) == 2000
        assert time.monotonic() - began_s < 60
        messages = list(run_on_ray(work, jobs, cpus=1, gpus=0, retries=2))
    finally:
        ray.shutdown()
    assert {one.name: one.content for one in messages if one.kind == "result"} == {
        "one": "ONE",
        "twice": "TWICE",
    }
    errors = {one.name: str(one.content) for one in messages if one.kind == "error"}
    assert errors["wrong"] == "wrong: no such thing"
    assert errors["always"].startswith("ray: expected a worker that ends its task; got ")
    assert (tmp_path / "twice").stat().st_size == 3


def test_ray_head_node_that_is_gone_is_one_line(monkeypatch):
    monkeypatch.setattr(executor, "_CHECK_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        executor._check_head(address)
    with pytest.raises(HarnessError) as caught:
        executor._check_head(address)
    assert str(caught.value).startswith(f"ray: expected the head node of the cluster at {address}; got '")
    assert str(caught.value).endswith("; start the cluster again, and run the same command again to resume")


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModuleNotFoundError):
        next(run_on_ray(work, {}, cpus=1, gpus=0, retries=0))
