"""The final student in other precisions, each before the gate: in the plan, the stage, the results."""

from __future__ import annotations

import json

import pytest

from harness.config.load import load_recipe, load_scale
from harness.errors import HarnessError
from harness.plans.run import plan_run
from harness.stages import precisions
from harness.stages.io import results

ASKED = ("int8", "int8-static", "q4")


@pytest.fixture
def stage(finished, make_context):
    """Gives what the stage wrote and found for two tasks of a finished run."""
    inputs = {f"student.{task}": finished.folder(f"export.{task}.student") for task in ("pos", "topic")}
    inputs |= {name: finished.folder(name) for name in ("tasks", "corpus")}
    context = make_context({"tasks": ["pos", "topic"], "precisions": list(ASKED), "max_length": 48}, inputs)
    precisions.run(context)
    return context


def test_every_copy_has_a_file_and_a_verdict_and_comes_to_the_report(stage):
    rows = stage.facts["copies"]
    assert [(row["task"], row["precision"]) for row in rows] == [
        (task, name) for task in ("pos", "topic") for name in ASKED
    ]
    written = {str(path.relative_to(stage.out)) for path in stage.out.rglob("*.onnx")}
    assert written == {
        f"{task}/model_{end}.onnx" for task in ("pos", "topic") for end in ("int8", "static", "q4")
    }
    for row in rows:
        suffix = {"int8-static": "static"}.get(row["precision"], row["precision"])
        assert row["size_bytes"] == (stage.out / row["task"] / f"model_{suffix}.onnx").stat().st_size
        assert row["verdict"]["part"] == "dev"
        assert row["verdict"]["drop"] == pytest.approx(row["verdict"]["original"] - row["verdict"]["score"])
    manifest = {"key": "a" * 12, "facts": json.loads(json.dumps(stage.facts))}
    shown = results._copies("trim", manifest)
    assert [(one.task, one.precision, one.passed) for one in shown] == [
        (row["task"], row["precision"], row["verdict"]["passed"]) for row in rows
    ]
    assert results._copies("trim", None) == []


def test_a_scale_that_names_precisions_has_the_stage():
    plan = plan_run("mt", load_recipe("gurgurov2025"), load_scale("mini")).plan
    stages = {one.id: one for one in plan}
    wanted = {f"student.{task}" for task in ("pos", "ner", "topic", "sentiment")}
    assert wanted | {"tasks", "corpus"} == set(stages["precisions"].inputs)
    assert "precisions" in stages["report"].inputs


def test_an_unknown_precision_is_refused(tmp_path, write_scale):
    for value in (["int4"], "q4"):
        with pytest.raises(HarnessError, match=r"export\.precisions"):
            load_scale(write_scale(tmp_path, {"export.precisions": value}))
