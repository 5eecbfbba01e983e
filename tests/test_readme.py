"""The results in README equal the records of their runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.config.load import update_name
from harness.report import tables
from harness.report.results import read_results

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = sorted(set(re.findall(r"benchmarks/records/[\w.-]+\.json", README)))


def rows(text):
    """Return the cells of every table's rows."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def test_readme_names_its_records():
    assert any(name.startswith("benchmarks/records/mt-gurgurov2025-mini") for name in RECORDS)
    shown = {Path(name).name.split("_")[0] for name in RECORDS}
    assert {"mt-compare-small-folder", "sl-compare-small-folder"} <= shown


@pytest.mark.parametrize("name", RECORDS)
def test_readme_shows_every_score_of_its_records(name):
    """The row of a model contains its size and every score of the record, to the digit."""
    results = read_results(ROOT / name)
    shown = rows(README)
    for table in (tables.tabulate_scores(results), tables.tabulate_baselines(results)):
        for model, *cells in table.rows:
            expected = {*cells[:-2], cells[-1]}  # without the average, which tables of one language show
            assert any(row[0] == update_name(model) and expected <= set(row) for row in shown), (
                model,
                expected,
            )


@pytest.mark.parametrize("name", RECORDS)
def test_readme_names_the_commit_of_its_records(name):
    commit = str(read_results(ROOT / name).environment["commit"])[:7]
    assert f"commit {commit}" in README.replace("\n", " ")
