"""The records of scores: differing digits are found, and tables show the comparisons."""

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
def scorecard():
    """Two models on one task, in the form of a scorecard."""
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


def test_differing_digits_have_a_place(scorecard):
    other = copy.deepcopy(scorecard)
    assert list(repetition.find_differences(scorecard, other)) == []
    other["scores"]["trim"]["pos"]["metrics"]["accuracy"]["values"][1] += 1e-15
    (place,) = repetition.find_differences(scorecard, other)
    assert place.startswith("/scores/trim/pos/metrics/accuracy/values/1: 0.7 and 0.70000000000000")
    del other["scores"]["teacher"]
    assert len(list(repetition.find_differences(scorecard, other))) == 2


def test_record_contains_no_folder(scorecard):
    kept = remove_paths(scorecard)
    assert "/some/where" not in str(kept)
    assert kept["data"] == {"pos": {"test": 9}}
    assert kept["scores"] == scorecard["scores"]


def test_table_shows_verdicts_and_signatures(scorecard):
    lines = list(repetition.draw_scores(scorecard))
    assert "| pos (accuracy) | teacher | 80.0 (78.0 to 82.0) | 1.0 | 79.00 81.00 | – | – | – |" in lines
    assert lines[3].endswith("| -10.0 (-12.0 to -8.0) | 0.0004 | worse |")
    assert "- `task:pos|model:trim`" in lines


GOLD = ["a", "b"] * 50


def make_predictions(right, model, *, data="folder#1"):
    """Return predictions of two seeds that are right on a number of the hundred items."""
    labels = GOLD[:right] + ["c"] * (100 - right)
    protocol = "majority" if model == "none" else "full"
    signature = f"task:topic|lang:mt|data:{data}|split:test|n:100|protocol:{protocol}|seeds:1,2|model:{model}"
    return Predictions("topic", ("accuracy",), GOLD, {1: labels, 2: labels}, signature)


def test_p_values_are_corrected_over_the_language():
    models = {
        "teacher": make_predictions(80, "1"),
        "trimmed-teacher": make_predictions(80, "2"),
        "trim": make_predictions(50, "3"),
    }
    rows = students.compare_models(
        "mt", {"topic": models | {"majority": make_predictions(20, "none")}}, {models["trim"].signature: "c0"}
    )
    by_model = {row.model: row for row in rows}
    teacher, same, worse = (by_model[name] for name in models)
    assert (teacher.difference, teacher.p_holm, teacher.verdict) == (None, None, None)
    assert (same.difference.value, same.p_value, same.verdict) == (0, 1, "not told apart")
    assert worse.difference.value == pytest.approx(-0.3)
    assert (worse.verdict, worse.made_at, worse.values) == ("worse", "c0", (0.5, 0.5))
    assert worse.p_value < worse.p_holm <= 3 * worse.p_value
    table = students.draw_table(rows)
    assert table[2].startswith("| mt | topic (accuracy) | teacher | 80.0 (")
    assert table[2].endswith(") | – | – | – |  |")
    assert table[4].endswith(" | worse |")


def test_models_scored_in_another_way_are_refused():
    models = {"teacher": make_predictions(80, "1"), "trim": make_predictions(80, "2", data="folder#2")}
    with pytest.raises(SystemExit, match="students: trim was scored in another way than the teacher: data"):
        students.check_comparable(models)


def test_newest_predictions_are_read(tmp_path):
    assert students.find_folder(tmp_path, "mt", "pos", "distill") is None
    runs = ("a/20-score.pos.distill-1", "b/2-score.pos.distill-2", "b/3-score.pos.distill-2-3")
    for number, run in enumerate(runs):
        (tmp_path / "mt" / run).mkdir(parents=True)
        (tmp_path / "mt" / run / "predictions.json.gz").touch()
        os.utime(tmp_path / "mt" / run, (number, number))
    assert students.find_folder(tmp_path, "mt", "pos", "distill").name == "2-score.pos.distill-2"
    assert students.find_folder(tmp_path, "mt", "pos", "distill-2").name == "3-score.pos.distill-2-3"


def test_kept_model_has_predictions_for_every_task(tmp_path):
    for name in ("1-score.pos.teacher-1", "2-score.topic.teacher-2", "3-score.pos.trim-3"):
        (tmp_path / "mt/run" / name).mkdir(parents=True)
        (tmp_path / "mt/run" / name / "predictions.json.gz").touch()
    assert students.list_kept_models(tmp_path, "mt", ["teacher", "trim", "distill"]) == ["teacher"]


def test_model_needs_its_own_stages_alone():
    sources = {"teacher": "", "corpus": "", "adapt": "teacher corpus", "static": "teacher", "trim": "adapt"}
    stages = [
        Stage(name, "kind", 1, {}, {one: one for one in text.split()}) for name, text in sources.items()
    ]
    assert students.list_needed_stages(Plan(stages), ["trim"]) == {"teacher", "corpus", "adapt", "trim"}
