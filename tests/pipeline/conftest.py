"""A small plan of three stages, and a runs folder that records the events of its runs."""

# ruff: noqa: ARG002 - an observer receives more than the diary records
from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import ClassVar

import pytest

from harness.pipeline import Environment, Observer, Plan, Stage, Store, execute
from harness.pipeline.checkpoints import seal_checkpoint


def write_checkpoint(folder, done, total):
    """Write a checkpoint after a step, and keep the one before."""
    checkpoint = folder / f"checkpoint-{done}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "state.json").write_text(json.dumps([done, total]))
    seal_checkpoint(checkpoint)
    shutil.rmtree(folder / f"checkpoint-{done - 2}", ignore_errors=True)


def count(context):
    """Count to a number, with a checkpoint after each step; resume from the last."""
    done, total = 0, context.config["seed"]
    if context.resuming:
        newest = max(context.checkpoints.iterdir(), key=lambda path: int(path.name.partition("-")[2]))
        done, total = json.loads((newest / "state.json").read_text())
    while done < context.config["steps"]:
        done, total = done + 1, (total * 31 + done) % 1_000_003
        write_checkpoint(context.checkpoints, done, total)
        time.sleep(context.config.get("pause_s", 0))
        context.progress(done, context.config["steps"], "steps", {"total": total})
    (context.out / "deep").mkdir()
    (context.out / "deep" / "total.txt").write_text(f"{total}\n" * 50)
    (context.out / "empty").write_text("")
    context.facts["total"] = total


def join(context):
    """Join the inputs' totals."""
    text = "".join((path / "deep" / "total.txt").read_text() for path in context.inputs.values())
    (context.out / "joined.txt").write_text(text)


def describe_machine():
    return Environment(versions={"python": "3"}, threads=1, ops="reference")


class Diary(Observer):
    """Records the events."""

    def __init__(self):
        self.lines = []

    def stage_started(self, stage, folder, resuming):
        self.lines.append(("resumed" if resuming else "started", stage.id))

    def progress(self, stage, done, total, unit, values):
        self.lines.append(("progress", stage.id, done, total, unit))

    def stage_finished(self, stage, folder, written):
        self.lines.append(("finished", stage.id))

    def stage_skipped(self, stage, folder, written):
        self.lines.append(("skipped", stage.id))

    def waiting(self, stage, holder):
        self.lines.append(("waiting", stage.id, holder))

    def remark(self, stage, line):
        self.lines.append(("remark", stage.id, line))

    def list_remarks(self):
        return [line[2] for line in self.lines if line[0] == "remark"]

    def list_stages(self, *words):
        return [line[1] for line in self.lines if line[0] in words]


class Runs:
    """A runs folder and the plan that is run in it."""

    RUNNERS: ClassVar = {"count": count, "join": join}

    def __init__(self, root: Path):
        self.root = root
        self.store = Store(root)

    def plan(self, steps=5, seed=7, pause_s=0.0):
        config = {"steps": steps, "pause_s": pause_s}
        return Plan(
            [
                Stage("pretrain", "count", 1, config | {"seed": 3}, {}),
                Stage("adapt", "count", 1, config | {"seed": seed}, {}),
                Stage("join", "join", 1, {}, {"teacher": "pretrain", "student": "adapt"}),
            ]
        )

    def run(self, plan=None, folder="mt/paper-mini", workers=1, diary=None, *, checkpoint_s=None, **runners):
        """Run the plan; return the events and the finished stages."""
        diary = diary or Diary()
        made = execute(
            plan or self.plan(),
            self.store,
            folder,
            self.RUNNERS | runners,
            observer=diary,
            environment=describe_machine,
            workers=workers,
            checkpoint_s=checkpoint_s,
        )
        return diary, made

    def contents(self):
        """Every finished output, by stage and path; not the manifests, which contain times."""
        stages = self.store.list_stages()
        return {
            f"{stage.name}/{path.relative_to(stage)}": path.read_bytes()
            for stage in stages
            for path in sorted(stage.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        }

    def files(self):
        return sorted(p for stage in self.store.list_stages() for p in stage.rglob("*") if p.is_file())


@pytest.fixture(autouse=True)
def _do_not_wait_for_the_disk(monkeypatch):
    """Leave out the flushing of checkpoints, which no test but one about it needs."""
    monkeypatch.setattr("harness.pipeline.checkpoints.flush", lambda _: None)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture
def make_runs(tmp_path):
    """Return a maker of empty runs folders."""
    return lambda name: Runs(tmp_path / name)


@pytest.fixture
def in_child():
    """Run a function in a forked process; return its id at once."""
    children = []

    def fork(work):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
        return child

    yield fork
    for child in children:
        try:
            os.kill(child, 9)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
