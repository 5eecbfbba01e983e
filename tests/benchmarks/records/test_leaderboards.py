"""The page of leaderboards is drawn from the records, and has the signature of each score."""

from __future__ import annotations

import re

import pytest

from benchmarks.records.keep_run import RECORDS
from benchmarks.records.leaderboards import PAGE, Board, draw_page, read_boards
from harness.config.study import list_studies
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def boards() -> list[Board]:
    return read_boards(RECORDS)


def test_page_is_up_to_date(boards):
    assert PAGE.read_text(encoding="utf-8") == draw_page(boards), (
        "run `python -m benchmarks.records leaderboards`"
    )


def test_recipes_are_compared_on_built_in_and_real_text(boards):
    runs = [board.results.run for board in boards if not board.is_study]
    assert {("mt", "builtin"), ("mt", "folder"), ("sl", "folder")} <= {
        (run.language, run.data) for run in runs
    }


def test_every_main_score_has_one_signature(boards):
    for board in boards:
        signatures = board.signatures
        metrics = board.results.declared.tasks
        scores = [one for one in board.results.scores if one.metric == metrics[one.task]]
        assert len(scores) == sum(map(len, signatures.values()))
        for score in scores:
            digest = re.search(r"\|model:(\w+)", score.signature)
            line = score.signature if digest is None else score.signature.replace(digest[0], "|model:*")
            assert any(digest is None or one.endswith(f" {digest[1]}") for one in signatures[line])


def test_studies_are_compared_with_their_reference(boards):
    for board in boards:
        header, rows = board.table.header, board.table.rows
        named = header[-1].startswith("Difference from ")
        assert named == board.is_study
        if named:
            alone = [row[0] for row in rows if row[-1] == "–"]
            assert header[-1].removeprefix("Difference from ") in alone


def test_docs_quote_the_tables_of_studies():
    """Each number with decimals in the last column of docs/studies.md is in its study's part of the page.

    A study without a record says so, and nothing else.
    """
    parts = {part.partition(":")[0]: part for part in PAGE.read_text(encoding="utf-8").split("\n### ")}
    text = PAGE.with_name("studies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.* \| ([^|]+) \|$", text, re.MULTILINE)
    assert {name for name, _ in rows} == set(list_studies())
    assert {name: result for name, result in rows if name not in parts} == dict.fromkeys(
        set(list_studies()) - set(parts), "No record yet."
    )
    for name, result in rows:
        if name not in parts:
            continue
        known = [float(one) for one in re.findall(r"\d+\.\d+", parts[name].partition("<details>")[0])]
        for one in re.findall(r"\d+\.\d+", result):
            half = 0.5 * 10.0 ** -len(one.partition(".")[2]) + 1e-9
            assert any(abs(number - float(one)) <= half for number in known), f"{name}: {one}"


def test_page_contains_no_path_of_a_machine():
    assert not re.search(r"/(home|root|tmp|var|work)/", PAGE.read_text(encoding="utf-8"))


def test_folder_without_records_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="expected records of `harness compare`"):
        read_boards(tmp_path)
