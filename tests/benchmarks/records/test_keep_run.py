"""A kept run is its results and its plot, of a commit, whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.records.keep_run import RECORDS, keep
from harness.errors import HarnessError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Gives a finished run's folder, made of a record."""
    record = next(RECORDS.glob("mt-gurgurov2025-mini_*.json"))
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copyfile(record, folder / "results.json")
    shutil.copyfile(record.with_suffix(".svg"), folder / "score-by-size.svg")
    return folder


def change(run: Path, **changes: object) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["environment"] |= changes
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")


def test_results_and_plot_are_copied_under_a_name_that_says_what_where_and_when(run, tmp_path):
    change(run, commit="0123456789abcdef", cpu="A CPU (R)")
    one, two = keep(run, tmp_path / "records")
    assert one.name.startswith("mt-gurgurov2025-mini_a-cpu-r_")
    assert one.name.endswith("_0123456.json")
    assert two == one.with_suffix(".svg")
    assert one.read_bytes() == (run / "results.json").read_bytes()


def test_of_a_study_the_picture_of_its_variants_is_kept(run, tmp_path):
    change(run, commit="0123456789abcdef", cpu="A CPU (R)")
    (run / "score-by-size.svg").rename(run / "score-by-variant.svg")
    one, two = keep(run, tmp_path / "records")
    assert two == one.with_suffix(".svg")
    assert two.read_bytes() == (run / "score-by-variant.svg").read_bytes()


def test_runs_on_own_text_and_on_the_built_in_one_do_not_take_each_others_place(run, tmp_path):
    change(run, commit="0123456789abcdef", cpu="A CPU (R)")
    builtin = keep(run, tmp_path / "records")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["run"]["data"] = "folder"
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    own = keep(run, tmp_path / "records")
    assert own[0].name.startswith("mt-gurgurov2025-mini-folder_")
    assert all(one.is_file() for one in (*builtin, *own))


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"commit": None}, "got one that names none"), ({"dirty": True}, "got a changed checkout of it")],
)
def test_a_run_of_no_commit_is_refused(run, tmp_path, changes, told):
    change(run, **changes)
    with pytest.raises(HarnessError, match=told):
        keep(run, tmp_path / "records")
    assert not (tmp_path / "records").exists()
