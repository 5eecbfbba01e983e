"""The check of proposals: what counts as held, and by how much a prediction was missed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.edge.budget import compare, draw_table
from harness.api.student_shapes import ShapeChoice
from harness.config.file_budget import parse_file_budget
from harness.config.load import load_recipe, load_scale
from harness.config.shape import KNOWN_TEACHERS
from harness.deploy.latency_table import LatencySetting, LatencyTable, list_table_shapes
from harness.deploy.student_timing import TimedStudent
from harness.measure.latency_model import fit_latency
from harness.plans.shape_choice import propose_shapes

E5 = KNOWN_TEACHERS["e5-small"].shape


@pytest.fixture(scope="module")
def choice():
    shapes = list_table_shapes(E5)
    medians = [0.3 + 1e-6 * one.layers * one.hidden * one.ffn for one in shapes]
    table = LatencyTable(Path("table"), tuple(shapes), fit_latency(shapes, medians))
    budget = parse_file_budget("6 MB int8, 2 ms")
    proposals = tuple(propose_shapes(E5, budget, table.model.predict_ms))
    recipe, scale = load_recipe("compact2026"), load_scale("laptop")
    return ShapeChoice(budget, E5, LatencySetting("int8", 128, 1), table, proposals, recipe, scale)


def test_predictions_that_hold_are_counted(choice):
    timed = [
        TimedStudent(round(one.size_bytes * (1.03 if number == 0 else 0.99)), 1.09 * one.latency_ms)
        for number, one in enumerate(choice.proposals)
    ]
    timed[1] = TimedStudent(timed[1].size_bytes, 1.12 * choice.proposals[1].latency_ms)
    rows = compare(choice, timed)
    assert rows[0]["size_error"] == pytest.approx(0.03, abs=1e-4)
    assert rows[1]["latency_error"] == pytest.approx(0.12)
    lines = draw_table("6 MB int8, 2 ms", rows, choice)
    number = len(choice.proposals)
    held = f"- p50 within 10%: {number - 1} of {number}; size within 2%: {number - 1} of {number}"
    assert held in lines
