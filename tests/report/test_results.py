"""The schema of ``results.json``: what it refuses, and how it is read and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.report.render import write_results
from harness.report.results import Results, TaskScore, make_score, read_results
from harness.report.values import IntervalValue


def change(results: Results, **changes: object) -> Results:
    return Results.model_validate(results.model_dump() | changes)


def test_full_results_have_no_problem(results: Results):
    assert results.find_problems() == []
    assert results.find_problems(manifests=results.list_keys()) == []
    assert len(results.list_keys()) == 5 + 20 + 2 + 1 + 1 + 1
    assert len(list(results.list_cells())) == 15 + 20 + 4 * 9 - 1 + 6


def test_written_results_are_read_back_equal(results: Results, tmp_path: Path):
    path = write_results(results, tmp_path)
    assert read_results(path) == results
    before = path.read_bytes()
    assert write_results(read_results(path), tmp_path).read_bytes() == before
    assert json.loads(before)["schema_version"] == 1


def test_unexplained_empty_cell_is_a_problem(results: Results):
    cut = change(results, scores=[one for one in results.scores if (one.model, one.task) != ("trim", "ner")])
    assert cut.find_problems() == ["score/trim/ner is neither filled nor absent"]
    with pytest.raises(HarnessError, match="got score/trim/ner is neither filled nor absent; run the stage"):
        cut.check()
    gone = [*results.absent, {"cell": "score/trim/ner", "reason": "the language has no NER data"}]
    assert change(cut, absent=gone).find_problems() == []


def test_every_field_of_an_export_or_training_is_a_cell(results: Results):
    files = [
        one.model_copy(update={"p90_ms": None}) if one.model == "trim" else one for one in results.exports
    ]
    assert change(results, exports=[one.model_dump() for one in files]).find_problems() == [
        "export/trim/pos/fp32/p90_ms is neither filled nor absent",
        "export/trim/pos/int8/p90_ms is neither filled nor absent",
    ]
    assert len(change(results, training=[]).find_problems()) == 6


def test_only_the_teachers_fp32_file_needs_no_ratio(results: Results):
    files = [one.model_copy(update={"ratio": None}) for one in results.exports]
    problems = change(results, exports=[one.model_dump() for one in files]).find_problems()
    assert [one.split("/")[1:4] for one in problems] == [
        ["teacher", "pos", "int8"],
        ["trim", "pos", "fp32"],
        ["trim", "pos", "int8"],
    ]


def test_absent_cell_must_be_declared_and_empty(results: Results):
    gone = [{"cell": cell, "reason": "no time"} for cell in ("score/trim/ner", "score/trim/chess")]
    assert change(results, absent=[*results.absent, *gone]).find_problems() == [
        "score/trim/ner is absent, but filled",
        "score/trim/chess is absent, but was never declared",
    ]


def test_absent_row_explains_all_its_fields(results: Results):
    files = [one for one in results.exports if (one.model, one.precision) != ("trim", "int8")]
    gone = [{"cell": "export/trim/pos/int8", "reason": "onnxruntime refused the graph"}]
    assert change(results, exports=files, absent=[*results.absent, *gone]).find_problems() == []
    assert len(change(results, exports=files).find_problems()) == 9
    assert len(change(results, absent=[*results.absent, *gone]).find_problems()) == 9


def test_references_duplicates_and_manifests_are_checked(results: Results):
    twice = change(results, training=[*results.training, *results.training])
    assert twice.find_problems() == ["training distill appears twice"]
    lost = change(results, models=results.models[:-1], absent=[])
    assert lost.find_problems() == ["model 'majority' is named but not described"]
    first = results.models[0].key
    assert results.find_problems(results.list_keys() - {first}) == [f"manifest {first} does not exist"]


def test_many_problems_are_one_line(results: Results):
    with pytest.raises(HarnessError, match="and 17 more") as caught:
        change(results, scores=[]).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": 0.9}, {"std": 0.5}, {"std": None}, {"seeds": (1,)}, {"keys": ()}, {"keys": ("not a key",)},
        {"n_test": 0}, {"values": (0.5, float("nan"))}, {"values": (0.5, 70.0)}, {"extra": 1},
        {"interval": {"low": 2, "high": 1}},
    ],
)  # fmt: skip
def test_contradictory_score_is_refused(changes: dict[str, object]):
    good = make_score(
        "m", "pos", "accuracy", [0.5, 0.7], seeds=[1, 2], interval=None, n_test=3, keys=["0" * 12]
    )
    with pytest.raises(ValidationError):
        TaskScore.model_validate(good.model_dump() | changes)


def test_single_seed_has_no_deviation():
    one = make_score(
        "m",
        "pos",
        "accuracy",
        [0.5],
        seeds=[1],
        interval=IntervalValue(low=0, high=1),
        n_test=3,
        keys=["0" * 12],
    )
    assert one.std is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 2}', "Input should be 1 at schema_version"),
        ("[]", "at the file"),
        ("{", "Invalid JSON"),
    ],
)
def test_file_of_another_schema_is_refused_in_one_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(HarnessError, match=message) as caught:
        read_results(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(HarnessError, match="got No such file or directory; run the pipeline first"):
        read_results(tmp_path / "results.json")
