"""The programs that time grids run, with few languages, and print a row for each thing that is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.grids import cells, store
from harness.cli import grids
from harness.data import folder
from harness.pipeline import plan


@pytest.fixture(autouse=True)
def _let_workers_import_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


def test_cells_that_do_nothing_are_planned_run_and_collected(tmp_path, monkeypatch):
    read, real, call = [], plan.hash_path, grids.CellCall
    monkeypatch.setattr(plan, "hash_path", lambda path: read.append(path) or real(path))
    monkeypatch.setattr(cells, "EMPTY", 4)
    timed = cells.time_grids(tmp_path, 2, ["local"])
    assert {name: one["cells"] for name, one in timed.items()} == {"plan": 26, "local": 8}
    assert grids.CellCall is call
    results = (tmp_path / "local" / "grids" / "grid" / "results.json").read_text()
    assert results.count('"state": "missing"') == 8
    collected = [path for path in read if read.count(path) > 5]
    assert not collected, "each text is read once for each kind of teacher, not once for each cell"
    assert folder.list_languages(tmp_path / "data") == ["en", "l001"]


def test_store_of_many_languages_is_timed(capsys, monkeypatch):
    monkeypatch.setattr(store, "MANIFESTS", 3)
    assert store.main(["--languages", "1", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| processor seconds | 1 languages | 2 languages |"
    assert lines[2] == "| folders of stages | 80 | 160 |"
    assert [line.split(" | ")[0] for line in lines[3:]] == [
        "| plan a run", "| state of its stages", "| estimate of its time", "| look for one stage",
        "| lock of one stage",
    ]  # fmt: skip
