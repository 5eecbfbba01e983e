"""The final student in other precisions, each checked by the gate: in the plan, the stage and the results."""

from __future__ import annotations

import pytest

from harness.config.load import load_recipe, load_scale
from harness.errors import HarnessError
from harness.pipeline.manifest import Manifest
from harness.plans.run import plan_run
from harness.stages import precisions
from harness.stages.io import results
from harness.stages.io.facts import to_json

ASKED = ("int8", "int8-static", "q4")


@pytest.fixture
def stage(finished, make_context):
    """Run the stage for two tasks of a finished run; return its folder and its facts."""
    inputs = {f"student.{task}": finished.folder(f"export.{task}.student") for task in ("pos", "topic")}
    inputs |= {name: finished.folder(name) for name in ("tasks", "corpus")}
    context = make_context({"tasks": ["pos", "topic"], "precisions": list(ASKED), "max_length": 48}, inputs)
    return context.out, precisions.run(context)


def test_every_copy_has_a_file_a_verdict_and_a_row_in_the_results(stage, finished):
    out, facts = stage
    assert [(copy.task, copy.precision) for copy in facts.copies] == [
        (task, name) for task in ("pos", "topic") for name in ASKED
    ]
    written = {str(path.relative_to(out)) for path in out.rglob("*.onnx")}
    assert written == {
        f"{task}/model_{end}.onnx" for task in ("pos", "topic") for end in ("int8", "static", "q4")
    }
    for copy in facts.copies:
        suffix = "static" if copy.precision == "int8-static" else copy.precision
        assert copy.size_bytes == (out / copy.task / f"model_{suffix}.onnx").stat().st_size
        assert copy.verdict.part == "dev"
        assert copy.verdict.drop == pytest.approx(copy.verdict.original - copy.verdict.score)
    changes = {"kind": "precisions", "facts": to_json(facts)}
    manifest: Manifest = finished.manifest("trim").model_copy(update=changes)
    rows = results._collect_copies("trim", manifest)
    assert [(row.task, row.precision, row.passed) for row in rows] == [
        (copy.task, copy.precision, copy.verdict.passed) for copy in facts.copies
    ]
    assert results._collect_copies("trim", None) == []


def test_scale_that_names_precisions_has_the_stage():
    plan = plan_run("mt", load_recipe("gurgurov2025"), load_scale("mini")).plan
    stages = {one.id: one for one in plan}
    exports = {f"student.{task}" for task in ("pos", "ner", "topic", "sentiment")}
    assert exports | {"tasks", "corpus"} == set(stages["precisions"].inputs)
    assert "precisions" in stages["report"].inputs


def test_unknown_precision_is_refused(tmp_path, write_scale):
    for value in (["int4"], "q4"):
        with pytest.raises(HarnessError, match=r"export\.precisions"):
            load_scale(write_scale(tmp_path, {"export.precisions": value}))
