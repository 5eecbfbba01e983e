"""The table of stage kinds: a module for each row, and stages that read and write what their row declares."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_type_hints

import pytest

from harness import stages
from harness.config.load import list_recipes, load_recipe, load_scale
from harness.config.steps import KINDS as STEP_KINDS
from harness.pipeline.execute import Context
from harness.plans.run import plan_run
from harness.stages.io.export_facts import LatencyFacts
from harness.stages.io.facts import FetchFacts, to_json
from harness.stages.table import KINDS, read_facts

RUN_BY_SCORE = {"tune"}
"""Steps without a stage of their own: the stage ``score`` distils while it fine-tunes."""


def find_undeclared(names, patterns):
    """Return the names that match none of the patterns."""
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]


def test_each_kind_has_exactly_one_module():
    modules = {one.name for one in iter_modules(stages.__path__) if not one.ispkg} - {"table"}
    assert modules - set(KINDS) == set(), "harness/stages/table.py: add a row for each of these modules"
    assert set(KINDS) - modules == set(), "harness/stages: add a module for each of these rows of table.py"


def test_import_contract_names_each_stage():
    project = Path(stages.__file__).parents[2] / "pyproject.toml"
    contracts = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (modules,) = [one["modules"] for one in contracts if one["type"] == "independence"]
    assert modules == [f"harness.stages.{kind}" for kind in KINDS], "pyproject.toml: name each stage"


def test_each_step_kind_has_a_stage():
    missing = set(STEP_KINDS) - RUN_BY_SCORE - set(KINDS)
    assert missing == set(), "harness/stages/table.py: add a row, and a module, for each of these step kinds"


@pytest.mark.parametrize("kind", KINDS)
def test_module_returns_the_declared_facts(kind):
    run = import_module(f"harness.stages.{kind}").run
    hints = get_type_hints(run, localns={"Context": Context})
    assert hints == {"context": Context, "return": KINDS[kind].facts}


def test_each_row_has_a_summary():
    assert all(row.summary.endswith(".") and row.version > 0 for row in KINDS.values())


def test_every_finished_stage_wrote_what_its_row_declares(finished):
    for stage in finished.planned.plan:
        written, row = finished.manifest(stage.id), KINDS[stage.kind]
        assert written.version == row.version
        assert find_undeclared(written.inputs, row.reads) == [], f"{stage.id}: not in reads of {row.name}"
        assert find_undeclared(written.outputs, row.writes) == [], f"{stage.id}: not in writes of {row.name}"
        assert to_json(row.facts.model_validate(written.facts)) == written.facts, stage.id


def test_every_declared_file_is_written_by_some_stage(finished):
    written = {}
    for stage in finished.planned.plan:
        written.setdefault(stage.kind, set()).update(finished.manifest(stage.id).outputs)
    for kind, names in written.items():
        unused = [pattern for pattern in KINDS[kind].writes if not any(fnmatch(n, pattern) for n in names)]
        assert unused == [], f"harness/stages/table.py: no stage of the kind {kind} writes these"


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_every_plan_uses_the_declared_inputs(scale):
    for recipe in list_recipes():
        for stage in plan_run("mt", load_recipe(recipe), load_scale(scale)).plan:
            assert find_undeclared(stage.inputs, KINDS[stage.kind].reads) == [], f"{recipe}: {stage.id}"


def test_undeclared_name_is_listed():
    assert find_undeclared(["model/config.json", "notes.txt"], KINDS["adapt"].writes) == ["notes.txt"]


def test_facts_of_another_kind_are_refused(finished):
    assert read_facts(finished.manifest("teacher"), FetchFacts).teacher.name == "teacher"
    with pytest.raises(TypeError, match="teacher: expected LatencyFacts; got FetchFacts"):
        read_facts(finished.manifest("teacher"), LatencyFacts)


def test_runner_refuses_facts_of_another_type(make_context, monkeypatch):
    monkeypatch.setattr(import_module("harness.stages.shorten"), "run", lambda _: LatencyFacts(latency=[]))
    with pytest.raises(TypeError, match=r"harness\.stages\.shorten: expected facts of the type ShortenFacts"):
        stages.make_runner("shorten")(make_context({}))
