"""What README shows of a run is what the record of that run holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.config.load import update_name
from harness.report import tables
from harness.report.render import read_results

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = sorted(set(re.findall(r"benchmarks/records/[\w.-]+\.json", README)))


def rows(text):
    """Gives the cells of every table's rows."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def test_readme_names_the_records_of_what_it_shows():
    assert any(name.startswith("benchmarks/records/mt-gurgurov2025-mini") for name in RECORDS)
    shown = {Path(name).name.split("_")[0] for name in RECORDS}
    assert {"mt-compare-small-folder", "sl-compare-small-folder"} <= shown


@pytest.mark.parametrize("name", RECORDS)
def test_every_score_of_a_recorded_run_stands_in_readme(name):
    """A row that begins with a model's name holds its size and every score of the record, to the digit."""
    results = read_results(ROOT / name)
    shown = rows(README)
    for table in (tables.tabulate_scores(results), tables.tabulate_baselines(results)):
        for model, *cells in table.rows:
            wanted = {*cells[:-2], cells[-1]}  # all but the average, which stands where one language is shown
            assert any(row[0] == update_name(model) and wanted <= set(row) for row in shown), (model, wanted)


@pytest.mark.parametrize("name", RECORDS)
def test_the_commit_of_a_record_stands_beside_its_table(name):
    commit = str(read_results(ROOT / name).environment["commit"])[:7]
    assert f"commit {commit}" in README.replace("\n", " ")
