"""A whole run over a data folder with text, POS and topics, and a teacher from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.config.load import load_recipe, load_scale
from harness.pipeline import manifest
from harness.pipeline.execute import Context, Observer, execute
from harness.pipeline.manifest import Environment, Manifest
from harness.pipeline.store import Store
from harness.plans.run import RunPlan, plan_run
from harness.stages import RUNNERS


@dataclass(frozen=True)
class FinishedRun:
    """A finished run."""

    planned: RunPlan
    store: Store
    data: Path

    def folder(self, stage: str) -> Path:
        folder = self.store.find(self.planned.plan.keys[stage])
        assert folder is not None
        return folder

    def manifest(self, stage: str) -> Manifest:
        return manifest.read(self.folder(stage))

    def facts(self, stage: str) -> dict[str, Any]:
        return self.manifest(stage).facts


def _run_plan(planned: RunPlan, root: Path, data: Path) -> FinishedRun:
    store = Store(root)
    execute(planned.plan, store, "mt/short-tiny", RUNNERS, observer=Observer(), environment=Environment)
    return FinishedRun(planned, store, data)


@pytest.fixture(scope="session")
def run_plan() -> Callable[[RunPlan, Path, Path], FinishedRun]:
    """Run every stage of a plan in this process, over a data folder; return the run."""
    return _run_plan


@pytest.fixture(scope="session")
def finished(tmp_path_factory, write_scale, write_recipe, write_data, write_teacher) -> FinishedRun:
    root = tmp_path_factory.mktemp("stages")
    data, teacher = write_data(root / "data"), write_teacher(root / "teacher")
    leak = (data / "topic/mt/test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    with (data / "corpus/mt/text.txt").open("a", encoding="utf-8") as file:
        file.write(f"\n{leak}\nkadin mifa toki\n")
    changes = {
        "tasks.names": ["pos", "ner", "topic", "sentiment"],
        "corpus.lines": 1000,
        "export.precisions": ["fp16"],
    }
    scale = load_scale(write_scale(root, changes)).with_data(str(data)).with_teacher(str(teacher))
    planned = plan_run("mt", load_recipe(write_recipe(root)), scale)
    return _run_plan(planned, root / "runs", data)


@pytest.fixture
def data(tmp_path, write_data):
    """A data folder with two languages."""
    return write_data(tmp_path / "data", ("mt", "sw"))


@pytest.fixture
def corpus_config():
    """Settings of the corpus stage: Maltese of a data folder, and no task whose text is kept out."""
    return {
        "source": "folder",
        "tasks_source": "folder",
        "languages": ["mt"],
        "lines": None,
        "held_out_fraction": 0.1,
        "seed": 1,
        "excluded_tasks": {"mt": []},
        "sizes": [None, None, None],
    }


@pytest.fixture
def make_context(tmp_path):
    """Return a maker of contexts for single stages, each with a new folder to write to."""

    def make(config, inputs=None, out=None, progress=None, step=None):
        folder = out or tmp_path / "out"
        folder.mkdir(exist_ok=True)
        return Context(
            folder,
            config,
            inputs or {},
            {},
            progress or (lambda *_: None),
            resuming=out is not None,
            step=step,
        )

    return make
