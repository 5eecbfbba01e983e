"""The records of scores: what differs is found, and a table says no more than the comparison does."""

from __future__ import annotations

import copy
import os

import pytest

from benchmarks.common.recording import remove_paths
from benchmarks.studies import repetition, students
from harness.measure.predictions import Predictions
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
    kept = remove_paths(found)
    assert "/some/where" not in str(kept)
    assert kept["data"] == {"pos": {"test": 9}}
    assert kept["scores"] == found["scores"]


def test_a_table_of_one_model_beside_another_says_its_verdict_and_every_signature(found):
    told = list(repetition.lines(found))
    assert "| pos (accuracy) | teacher | 80.0 (78.0 to 82.0) | 1.0 | 79.00 81.00 | – | – | – |" in told
    assert told[3].endswith("| -10.0 (-12.0 to -8.0) | 0.0004 | worse |")
    assert "- `task:pos|model:trim`" in told


GOLD = ["a", "b"] * 50


def told(right, model, *, data="folder#1"):
    """Gives predictions of two seeds that are right on so many of a hundred items."""
    said = GOLD[:right] + ["c"] * (100 - right)
    protocol = "majority" if model == "none" else "full"
    signature = f"task:topic|lang:mt|data:{data}|split:test|n:100|protocol:{protocol}|seeds:1,2|model:{model}"
    return Predictions("topic", ("accuracy",), GOLD, {1: said, 2: said}, signature)


def test_students_are_judged_beside_the_teacher_and_corrected_over_the_language():
    models = {"teacher": told(80, "1"), "trimmed-teacher": told(80, "2"), "trim": told(50, "3")}
    rows = students.judged(
        "mt", {"topic": models | {"majority": told(20, "none")}}, {models["trim"].signature: "c0"}
    )
    by_model = {row.model: row for row in rows}
    teacher, same, worse = (by_model[name] for name in models)
    assert (teacher.difference, teacher.p_holm, teacher.verdict) == (None, None, None)
    assert (same.difference.value, same.p_value, same.verdict) == (0, 1, "not told apart")
    assert worse.difference.value == pytest.approx(-0.3)
    assert (worse.verdict, worse.made_at, worse.values) == ("worse", "c0", (0.5, 0.5))
    assert worse.p_value < worse.p_holm <= 3 * worse.p_value
    table = students.table(rows)
    assert table[2].startswith("| mt | topic (accuracy) | teacher | 80.0 (")
    assert table[2].endswith(") | – | – | – |  |")
    assert table[4].endswith(" | worse |")


def test_models_that_were_scored_otherwise_are_not_compared():
    models = {"teacher": told(80, "1"), "trim": told(80, "2", data="folder#2")}
    with pytest.raises(SystemExit, match="students: trim was scored otherwise than the teacher: data"):
        students.check_alike(models)


def test_the_newest_predictions_of_a_model_are_read(tmp_path):
    assert students.folder_of(tmp_path, "mt", "pos", "distill") is None
    runs = ("a/20-score.pos.distill-1", "b/2-score.pos.distill-2", "b/3-score.pos.distill-2-3")
    for number, run in enumerate(runs):
        (tmp_path / "mt" / run).mkdir(parents=True)
        (tmp_path / "mt" / run / "predictions.json.gz").touch()
        os.utime(tmp_path / "mt" / run, (number, number))
    assert students.folder_of(tmp_path, "mt", "pos", "distill").name == "2-score.pos.distill-2"
    assert students.folder_of(tmp_path, "mt", "pos", "distill-2").name == "3-score.pos.distill-2-3"


def test_a_model_counts_as_kept_where_every_task_of_its_language_is(tmp_path):
    for name in ("1-score.pos.teacher-1", "2-score.topic.teacher-2", "3-score.pos.trim-3"):
        (tmp_path / "mt/run" / name).mkdir(parents=True)
        (tmp_path / "mt/run" / name / "predictions.json.gz").touch()
    assert students.kept(tmp_path, "mt", ["teacher", "trim", "distill"]) == ["teacher"]


def test_a_model_needs_the_stages_it_comes_from_and_no_other():
    sources = {"teacher": "", "corpus": "", "adapt": "teacher corpus", "static": "teacher", "trim": "adapt"}
    stages = [
        Stage(name, "kind", 1, {}, {one: one for one in text.split()}) for name, text in sources.items()
    ]
    assert students.needed(Plan(stages), ["trim"]) == {"teacher", "corpus", "adapt", "trim"}
