"""The results in docs/first-run.md equal the records of their runs, and README's picture is a record's.

README's table is compared in ``tests/benchmarks/records/test_results_page.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.config.load import update_name
from harness.report import tables
from harness.report.results import read_results

ROOT = Path(__file__).parent.parent
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/first-run.md")}
RECORDS = sorted(
    {
        (page, name)
        for page, text in PAGES.items()
        for name in re.findall(r"benchmarks/records/[\w.@-]+\.json", text)
    }
)


def rows(text):
    """Return the cells of every table's rows."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def test_the_pages_name_their_records():
    shown = {(page, Path(name).name.split("_")[0]) for page, name in RECORDS}
    assert ("docs/first-run.md", "mt-gurgurov2025-mini") in shown


def test_readme_shows_the_pictures_of_records():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGES["README.md"])
    assert pictures
    for name in pictures:
        assert (ROOT / name).is_file()
        assert (ROOT / name).with_suffix(".json").is_file()


@pytest.mark.parametrize(("page", "name"), RECORDS)
def test_a_page_shows_every_score_of_its_records(page, name):
    """The row of a model contains its size and every score of the record, to the digit."""
    results = read_results(ROOT / name)
    shown = rows(PAGES[page])
    for table in (tables.tabulate_scores(results), tables.tabulate_baselines(results)):
        for model, *cells in table.rows:
            expected = {*cells[:-2], cells[-1]}  # without the average, which tables of one language show
            assert any(row[0] == update_name(model) and expected <= set(row) for row in shown), (
                model,
                expected,
            )


@pytest.mark.parametrize(("page", "name"), RECORDS)
def test_a_page_names_the_commit_of_its_records(page, name):
    commit = str(read_results(ROOT / name).environment["commit"])[:7]
    assert f"commit {commit}" in PAGES[page].replace("\n", " ")
