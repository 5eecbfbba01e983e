"""A kept run is its complete results and its plot, of a commit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.records.keep_run import RECORDS, keep_run
from harness.errors import HarnessError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a finished run's folder, made of a record."""
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


def test_record_is_named_after_run_machine_and_commit(run, tmp_path):
    change(run, commit="0123456789abcdef", cpu="A CPU (R)")
    one, two = keep_run(run, tmp_path / "records")
    assert one.name.startswith("mt-gurgurov2025-mini_a-cpu-r_")
    assert one.name.endswith("_0123456.json")
    assert two == one.with_suffix(".svg")
    assert one.read_bytes() == (run / "results.json").read_bytes()


def test_study_keeps_the_plot_of_its_variants(run, tmp_path):
    change(run, commit="0123456789abcdef", cpu="A CPU (R)")
    (run / "score-by-size.svg").rename(run / "score-by-variant.svg")
    one, two = keep_run(run, tmp_path / "records")
    assert two == one.with_suffix(".svg")
    assert two.read_bytes() == (run / "score-by-variant.svg").read_bytes()


def test_runs_on_different_text_have_different_names(run, tmp_path):
    change(run, commit="0123456789abcdef", cpu="A CPU (R)")
    builtin = keep_run(run, tmp_path / "records")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["run"]["data"] = "folder"
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    own = keep_run(run, tmp_path / "records")
    assert own[0].name.startswith("mt-gurgurov2025-mini-folder_")
    assert all(one.is_file() for one in (*builtin, *own))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"commit": None}, "got no commit"), ({"dirty": True}, "got a changed checkout")],
)
def test_run_without_commit_is_refused(run, tmp_path, changes, message):
    change(run, **changes)
    with pytest.raises(HarnessError, match=message):
        keep_run(run, tmp_path / "records")
    assert not (tmp_path / "records").exists()
