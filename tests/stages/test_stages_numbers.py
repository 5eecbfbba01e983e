"""What the report is told of stages that did not go as they should."""

from __future__ import annotations

import pytest

from harness.stages.io import results


@pytest.fixture
def manifests(finished):
    """The manifests that a finished run's report read, by stage."""
    report = next(stage for stage in finished.blueprint.plan if stage.id == "report")
    return dict(report.config), {role: finished.manifest(role) for role in report.inputs}


def test_a_training_that_was_resumed_has_neither_time_nor_memory_and_says_why(manifests):
    config, made = manifests
    made["adapt"] |= {"resumed": True}
    made["adapt"]["facts"]["training"] |= {"resumed": True, "tokens_per_s": None}
    found = results.collect(config, made)
    assert found.problems() == []
    rows = {one.step: one for one in found.training}
    assert rows["adapt"].wall_s is rows["adapt"].peak_memory_bytes is None
    assert rows["distill"].wall_s == made["distill"]["wall_s"]
    told = {one.cell: one.reason for one in found.absent if one.cell.startswith("training/")}
    for field in ("tokens_per_s", "wall_s", "peak_memory_bytes"):
        assert "cut off and resumed" in told[f"training/adapt/{field}"]
        assert f"training/distill/{field}" not in told


def test_an_export_tells_how_many_rows_were_timed_at_once(manifests):
    config, made = manifests
    for row in made["latency"]["facts"]["latency"]:
        row["batch_size"] = 4
    assert {one.batch_size for one in results.collect(config, made).exports} == {4}
