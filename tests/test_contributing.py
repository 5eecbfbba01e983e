"""CONTRIBUTING's checklists are complete: an addition that follows one runs, in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COPIED = ("harness", "docs", "tests", "pyproject.toml")
LIMITS = {"recipe": 2, "step kind": 4, "model family": 3, "op": 12, "task": 3}
"""The most files of an addition."""


def read_checklist(page, heading):
    """Return the files that a numbered list under a heading begins its items with."""
    section = re.split(rf"^#+ {heading}$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, flags=re.MULTILINE)[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)


def list_files(addition):
    """Return the files of an addition's checklist."""
    if addition == "op":
        return read_checklist("csrc/README.md", "Adding an op")
    return read_checklist("CONTRIBUTING.md", f"An? {addition}")


class Copy:
    """A copy of the package, and the files that were added or changed in it."""

    def __init__(self, root):
        self.root, self.changed = root, set()

    def add(self, path, text):
        assert not (self.root / path).exists()
        (self.root / path).write_text(text, encoding="utf-8")
        self.changed.add(path)

    def insert(self, path, line, before):
        """Insert a line before the first line that begins with a text."""
        lines = (self.root / path).read_text(encoding="utf-8").splitlines(keepends=True)
        place = next(number for number, one in enumerate(lines) if one.startswith(before))
        (self.root / path).write_text(
            "".join([*lines[:place], f"{line}\n", *lines[place:]]), encoding="utf-8"
        )
        self.changed.add(path)

    def run(self, *words):
        """Run a module of Python in the copy, and return its output."""
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=self.root,
            env={
                **os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def plan(self, **options):
        """Return the kind of each stage of a run's plan."""
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        printed = self.run("harness", "plan", "mt", *words, "--runs", self.root / "runs")
        return re.findall(r"│ \d+ +│ [\w.-]+ +│ ([\w-]+)", printed)


@pytest.fixture
def copy(tmp_path):
    for name in COPIED:
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(path, tmp_path / "copy" / name, ignore=ignored)
        else:
            shutil.copyfile(path, tmp_path / "copy" / name)
    return Copy(tmp_path / "copy")


@pytest.mark.parametrize("addition", [*LIMITS, "loss", "language", "precision", "baseline"])
def test_checklist_is_short_and_its_files_exist(addition):
    files = list_files(addition)
    assert 0 < len(files) <= LIMITS.get(addition, 3)
    assert all("<" in name or (ROOT / name).is_file() for name in files)
    folders = [Path(name.partition("<")[0]).parent for name in files if "<" in name]
    assert all((ROOT / folder).is_dir() for folder in folders)


@pytest.mark.slow
def test_recipe(copy):
    recipe = {
        "source": "made for a test",
        "teacher": "mbert",
        "steps": [{"shorten": {"layers": "3/12", "keep": "last"}}, {"trim": {"tokens": 20000}}],
    }
    copy.add("harness/recipes/quarter.yaml", yaml.safe_dump(recipe))
    copy.insert(
        "tests/config/test_recipes_published.py", '    "quarter": "made for a test",', '    "compact2026"'
    )
    assert copy.changed == {name.replace("<name>", "quarter") for name in list_files("recipe")}
    assert copy.plan(recipe="quarter", scale="mini")[4:6] == ["shorten", "trim"]
    tests = "size_or_a_reason or variant_fits"
    copy.run("pytest", "-q", "tests/config/test_recipes_published.py", "-k", tests)


SCHEMA = '''"""Halve: keep every second layer."""

from __future__ import annotations

from harness.config.amounts import Amounts
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, Step


class Halve(Step):
    """Keep every second layer."""

    kind = "halve"

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedHalve:
        """Return the layers that stay."""
        return ResolvedHalve(layers=tuple(range(0, models.current.layers, 2)))


class ResolvedHalve(ResolvedStep):
    """The indices of the layers that stay."""

    kind = Halve.kind
    layers: tuple[int, ...]

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with as many layers as stay."""
        return shape.model_copy(update={"layers": len(self.layers)})

    def describe(self) -> str:
        """Return the layers that stay."""
        return f"layers {self.layers}"
'''
STAGE = '''"""Keep every second layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.halve import ResolvedHalve
from harness.models.surgery import axes
from harness.stages.io.artifacts import read_model, write_step
from harness.stages.io.facts import StepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> StepFacts:
    """Write the model with the layers that stay."""
    model, tokenizer = read_model(context)
    return write_step(context, axes.shorten(model, context.get_step(ResolvedHalve).layers), tokenizer)
'''


@pytest.mark.slow
def test_step_kind(copy, write_recipe, tmp_path):
    row = '    Kind("halve", 1, _STEP, _MODEL, StepFacts, "Keep every second layer."),'
    copy.add("harness/config/steps/halve.py", SCHEMA)
    copy.add("harness/stages/halve.py", STAGE)
    copy.insert("harness/stages/table.py", row, "    # Evaluation")
    copy.insert("pyproject.toml", '    "harness.stages.halve",', '    "harness.stages.random"')
    assert copy.changed == {name.replace("<kind>", "halve") for name in list_files("step kind")}
    recipe = write_recipe(tmp_path, [{"halve": {}}, {"trim": {"tokens": "1/2"}}])
    assert copy.plan(recipe=recipe, scale="mini")[4:6] == ["halve", "trim"]
    copy.run("pytest", "-q", "tests/config/test_steps.py", "tests/stages/test_table.py")


@pytest.mark.slow
def test_precision(copy, write_scale, write_recipe, tmp_path):
    row = (
        '    Precision("int8f16", "_int8f16", "8-bit weights, 16-bit floats", ("dynamic-int8", "half"), ""),'
    )
    copy.insert("harness/precisions.py", row, "    Precision(\n")
    docs = "   | `int8f16` | `model_int8f16.onnx` | 8-bit weights, 16-bit floats |"
    copy.insert("docs/export.md", docs, "   | `int8` |")
    assert copy.changed < set(list_files("precision"))
    scale = write_scale(tmp_path, {"export.precisions": ["int8f16"]})
    assert "precisions" in copy.plan(recipe=write_recipe(tmp_path), scale=scale)
    copy.run("pytest", "-q", "tests/test_tables.py", "-k", "precision")


@pytest.fixture
def options(write_scale, write_recipe, write_data, write_teacher, tmp_path):
    """The options of a short run whose only task is ``mood``, with the texts of ``topic``."""
    data = write_data(tmp_path / "data")
    (data / "topic").rename(data / "mood")
    shutil.rmtree(data / "pos")
    changes = {"tasks.names": ["mood"], "score.baselines": ["majority"], "score.seeds": [1]}
    steps = [{"shorten": {"layers": "1/2", "keep": "last"}}, {"trim": {"tokens": "2/3"}}]
    files = {"recipe": write_recipe(tmp_path, steps), "scale": write_scale(tmp_path, changes), "data": data}
    files |= {"teacher": write_teacher(tmp_path / "teacher"), "runs": tmp_path / "runs"}
    return [word for name, path in files.items() for word in (f"--{name}", path)]


@pytest.mark.slow
def test_task(copy, options, tmp_path):
    row = '    Task("mood", "sequence", _F1_FIRST, TEXTS, "Mood", "Mood"),'
    copy.insert("harness/tasks.py", row, '    Task("nli"')
    copy.insert("docs/data.md", "| `mood` | `.tsv` | `text`, `label` | macro-F1 | accuracy |", "| `nli`")
    assert copy.changed < set(list_files("task"))
    copy.run("pytest", "-q", "tests/test_tables.py", "-k", "task")
    copy.run("harness", "reproduce", "mt", *options)
    (results,) = tmp_path.glob("runs/mt/*/results.json")
    assert {score["task"] for score in json.loads(results.read_text(encoding="utf-8"))["scores"]} == {"mood"}
    assert results.with_name("report.html").is_file()
    assert (results.parent / "onnx" / "mood" / "model.onnx").is_file()
