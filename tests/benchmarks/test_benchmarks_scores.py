"""The records of scores: what differs is found, and a table says no more than the comparison does."""

from __future__ import annotations

import copy

import pytest

from benchmarks import repetition, students
from benchmarks.recording import without_places
from harness.pipeline.plan import Plan, Stage


def cell(mean, values):
    return {"mean": mean, "std": 0.01, "low": mean - 0.02, "high": mean + 0.02, "values": values}


@pytest.fixture
def found():
    """Two models on one task, as a scorecard gathers them."""
    scores = {"teacher": cell(0.8, [0.79, 0.81]), "trim": cell(0.7, [0.7, 0.7])}
    difference = {"value": -0.1, "low": -0.12, "high": -0.08}
    return {
        "tasks": {"pos": "accuracy"},
        "names": {"teacher": "teacher", "trim": "trim"},
        "sources": {"teacher": "/some/where"},
        "data": {"pos": {"test": 9, "provenance": {"source": "/some/where"}}},
        "scores": {
            name: {"pos": {"metrics": {"accuracy": one}, "signature": f"task:pos|model:{name}"}}
            for name, one in scores.items()
        },
        "comparisons": [
            {
                "model": "trim",
                "task": "pos",
                "difference": difference,
                "retention": {"value": 0.875, "low": 0.85, "high": 0.9},
                "p_holm": 0.0004,
                "verdict": "worse",
            }
        ],
    }


def test_any_digit_that_differs_is_found_with_its_place(found):
    other = copy.deepcopy(found)
    assert list(repetition.differences(found, other)) == []
    other["scores"]["trim"]["pos"]["metrics"]["accuracy"]["values"][1] += 1e-15
    (place,) = repetition.differences(found, other)
    assert place.startswith("/scores/trim/pos/metrics/accuracy/values/1: 0.7 and 0.70000000000000")
    del other["scores"]["teacher"]
    assert len(list(repetition.differences(found, other))) == 2


def test_a_record_holds_no_folder(found):
    kept = without_places(found)
    assert "/some/where" not in str(kept)
    assert kept["data"] == {"pos": {"test": 9}}
    assert kept["scores"] == found["scores"]


def test_a_table_of_one_model_beside_another_says_its_verdict_and_every_signature(found):
    told = list(repetition.lines(found))
    assert "| pos (accuracy) | teacher | 80.0 (78.0 to 82.0) | 1.0 | 79.00 81.00 | – | – | – |" in told
    assert told[3].endswith("| -10.0 (-12.0 to -8.0) | 0.0004 | worse |")
    assert "- `task:pos|model:trim`" in told


def test_the_table_of_students_gives_what_is_kept_of_the_teacher(found):
    told = students.table({"mt": found})
    assert told[2] == "| mt | pos (accuracy) | teacher | 80.0 (78.0 to 82.0) | – | – | – | – |"
    assert told[3].startswith("| mt | pos (accuracy) | final student: ")
    assert told[3].endswith("| -10.0 (-12.0 to -8.0) | 87.5 (85.0 to 90.0) | 0.0004 | worse |")


def test_a_model_needs_the_stages_it_comes_from_and_no_other():
    sources = {"teacher": "", "corpus": "", "adapt": "teacher corpus", "static": "teacher", "trim": "adapt"}
    stages = [
        Stage(name, "kind", 1, {}, {one: one for one in text.split()}) for name, text in sources.items()
    ]
    assert students.needed(Plan(stages), ["trim"]) == {"teacher", "corpus", "adapt", "trim"}
