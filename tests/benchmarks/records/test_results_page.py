"""The page of results is drawn from the records of runs, and README's table is the page's."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.common.paths import RECORDS, ROOT
from benchmarks.records.results_page import PAGE, draw_page, read_runs, tabulate_languages
from harness.errors import HarnessError

NAME = "{language}-{recipe}-laptop-folder_cpu_202611_{commit}.json"


@pytest.fixture(scope="module")
def runs():
    return read_runs(RECORDS)


def test_page_is_up_to_date(runs):
    assert PAGE.read_text(encoding="utf-8") == draw_page(runs), "run `python -m benchmarks.records results`"


def test_readme_has_the_table_of_all_languages(runs):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = tabulate_languages(runs)
    for row in (table.header, *table.rows):
        assert f"| {' | '.join(row)} |" in readme


@pytest.fixture
def folder(runs, tmp_path):
    """Records of two languages by two recipes, made of one; the second language lacks a baseline."""
    whole = json.loads(runs[0].path.read_text(encoding="utf-8"))
    for language, recipe in (("sl", "large"), ("sl", "small"), ("xx", "small")):
        changed = json.loads(json.dumps(whole))
        changed["run"] |= {"language": language, "language_name": language.upper(), "recipe": recipe}
        if language == "xx":
            for key in ("scores", "comparisons"):
                changed[key] = [
                    one
                    for one in changed[key]
                    if "tfidf" not in (one.get("model"), one.get("b"), one.get("a"))
                ]
        name = NAME.format(language=language, recipe=recipe, commit="1234567")
        (tmp_path / name).write_text(json.dumps(changed), encoding="utf-8")
    return tmp_path


def test_recipes_are_rows_and_languages_are_columns(folder):
    table = tabulate_languages(read_runs(folder))
    assert table.header == ("Model", "Parameters", "MB", "SL", "XX", "Mean", "% of teacher")
    rows = {row[0]: row[3:] for row in table.rows}
    assert rows["student, small"] == rows["student, large"][:1] * 2 + rows["student, small"][2:]
    assert rows["student, large"][1:] == ("–", "–", "–"), "not run on the second language"
    assert rows["teacher"][-1] == "100.0"
    assert len(table.rows) == len(rows)


def test_two_records_of_one_language_and_recipe_are_refused(folder):
    first = folder / NAME.format(language="sl", recipe="small", commit="1234567")
    shutil.copyfile(first, folder / NAME.format(language="sl", recipe="small", commit="2345678"))
    with pytest.raises(HarnessError, match=r"expected one record of 'sl' by small in .*; got 2; remove"):
        read_runs(folder)


def test_folder_without_records_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="expected records of `harness reproduce` at the scale laptop"):
        read_runs(tmp_path)
