"""`harness grid`: what is refused before anything runs, cells that fail, the cells for other programs."""

from __future__ import annotations

import json
import os
import shlex
import time
from importlib import import_module
from pathlib import Path

import pytest

from harness.cli import grids
from harness.cli.app import app
from harness.config.load import list_recipes
from harness.errors import HarnessError, UsageError
from harness.report.grid_results import CellResult, GridResults, write_grid_results
from harness.report.results import make_score

ROOT = Path(__file__).parents[2]
TORTURE = ROOT / "benchmarks" / "torture"
LONG = os.environ.get("HARNESS_EXHAUSTIVE")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)

    def run(*arguments, grid="", **keys):
        lines = [f"{name}: {json.dumps(value)}" for name, value in keys.items()]
        Path("grid.yaml").write_text("\n".join(lines) or grid)
        app(args=[*arguments[:1], "grid.yaml", *arguments[1:]], standalone_mode=False)
        return capsys.readouterr()

    return run


def test_all_that_does_not_exist_is_named_before_anything_runs(run, capsys):
    with pytest.raises(UsageError, match=r"^4 of 7 cannot take part; nothing was run"):
        run(
            "grid",
            languages=["mt", "xx"],
            recipes=["gurgurov2025", "gurgurov", "gone.yaml"],
            scales=["mini", "huge"],
        )
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        "unknown recipe 'gurgurov'",
        "gone.yaml: expected a recipe file",
        "unknown scale 'huge'",
        "unknown built-in language 'xx'",
    ]
    assert not Path("runs").exists()


def test_data_without_a_language_and_teacher_that_is_missing_are_named(run, capsys, tmp_path):
    (tmp_path / "data" / "corpus" / "mt").mkdir(parents=True)
    (tmp_path / "data" / "corpus" / "mt" / "a.txt").write_text("text\n")
    with pytest.raises(UsageError, match=r"^1 of 4 cannot"):
        run("grid", languages=["mt", "sw"], recipes=["gurgurov2025"], data="data")
    assert capsys.readouterr().err.startswith("unknown language of data 'sw'; there are: mt")
    with pytest.raises(UsageError, match=r"^1 of 3 cannot"):
        run("grid", languages=["mt"], recipes=["gurgurov2025"], teacher="gone")
    assert capsys.readouterr().err.startswith("--teacher gone: expected a saved model's folder, or a hub id")


@pytest.mark.parametrize(
    ("options", "line"),
    [(["--executor", "dask"], "--executor: expected local, slurm or ray; got 'dask'"),
     (["--workers", "none"], "--workers: expected a number of at least 1, or auto; got 'none'")],
)  # fmt: skip
def test_wrong_option_is_one_line(options, line, run):
    with pytest.raises(UsageError) as caught:
        run("grid", *options, languages=["mt"], recipes=["gurgurov2025"])
    assert str(caught.value).startswith(line)


def test_cell_that_fails_lets_the_others_go_on(run, capsys, monkeypatch):
    monkeypatch.setattr(grids, "CellCall", import_module("tests.cli.grid_calls").FakeCall)
    recipes = ["cruz2025", "gurgurov2025"]
    with pytest.raises(HarnessError, match=r"^grid: 1 of 2 cells failed; correct what is named, and run"):
        run("grid", languages=["mt"], recipes=recipes)
    printed = capsys.readouterr()
    assert "mt cruz2025 mini: failed (" in printed.err
    assert printed.err.splitlines()[-1] == "failed: mt cruz2025 mini: cruz2025: no such thing"
    assert [line for line in printed.err.splitlines() if line.startswith("mt gurgurov2025 mini: ")] == [
        "mt gurgurov2025 mini: untimed",
        "mt gurgurov2025 mini: ended (2/2 cells)",
        "mt gurgurov2025 mini: timed",
        "mt gurgurov2025 mini: ended (1/1 cells)",
    ]
    written = json.loads(Path("runs/grids/grid/results.json").read_text())
    assert [(cell["recipe"], cell["state"]) for cell in written["cells"]] == [
        ("cruz2025", "failed"), ("gurgurov2025", "missing"),
    ]  # fmt: skip


def test_many_cells_are_printed_for_other_programs(run):
    languages = ["en", "fr", "he", "hi", "mt", "nl", "sk", "sl", "sw", "tl"]
    began_s = time.process_time()
    printed = run(
        "plan", "--format", "tsv", languages=languages, recipes=list_recipes(), seeds=list(range(20))
    )
    assert time.process_time() - began_s < 10
    header, *rows = [line.split("\t") for line in printed.out.splitlines()]
    assert header == ["language", "recipe", "scale", "seed", "folder", "command"]
    assert len(rows) == 2600
    row = dict(zip(header, rows[-1], strict=True))
    assert row["folder"] == f"{row['language']}/{row['recipe']}-mini-seed19"
    assert shlex.split(row["command"])[:3] == ["harness", "reproduce", row["language"]]


def test_format_is_checked(run):
    with pytest.raises(UsageError, match=r"^--format: expected table, json or tsv; got 'csv'"):
        run("plan", "--format", "csv", languages=["mt"], recipes=["gurgurov2025"])
    with pytest.raises(UsageError, match=r"^plan: expected --format tsv for the cells of a grid; got"):
        run("plan", languages=["mt"], recipes=["gurgurov2025"])


def test_stages_are_printed_as_tsv(capsys, tmp_path):
    app(args=["plan", "mt", "--format", "tsv", "--runs", str(tmp_path)], standalone_mode=False)
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["tasks", "tasks", "missing"]
    assert {len(row) for row in rows} == {4}


def test_slurm_files_are_written_without_being_submitted(run):
    printed = run("grid", "--executor", "slurm", "--dry-run", languages=["mt", "sk"], recipes=["cruz2025"])
    folder = Path("runs/grids/grid/slurm")
    assert printed.out.startswith("written: ")
    cells, timings = ((folder / name).read_text().splitlines() for name in ("cells.txt", "timings.txt"))
    assert [line.endswith(" --without-times") for line in cells] == [True, True]
    assert [f"{line} --without-times" for line in timings] == cells
    assert " reproduce mt --recipe cruz2025 --scale mini --runs " in cells[0]
    assert (folder / "last.txt").read_text().endswith(" --collect\n")


def make_cell(language, recipe, retention, seed=1):
    score = make_score("s", "topic", "macro_f1", [0.5], seeds=[1], interval=None, n_test=9, keys=["a" * 12])
    state = "missing" if retention is None else "done"
    scored = {} if retention is None else {"retention": retention, "average": 0.5, "parameters": 1000}
    return CellResult(language=language, recipe=recipe, scale="mini", seed=seed, folder="x", state=state,
                      scores=() if retention is None else (score,), **scored)  # fmt: skip


def test_leaderboard_ranks_recipes_over_the_languages_that_all_have(tmp_path):
    cells = [
        make_cell("mt", "one", 0.8), make_cell("mt", "one", 0.9, seed=2), make_cell("mt", "two", 0.9),
        make_cell("sk", "one", 0.7), make_cell("sk", "two", 0.9), make_cell("sw", "one", 0.99),
        make_cell("sw", "two", None),
    ]  # fmt: skip
    write_grid_results(GridResults(name="g_1", cells=tuple(cells)), tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "7 runs, of which 1 have not ended." in text
    assert "| two | 1,000 | 90.0 | 2 of 2 |\n| one | 1,000 | 77.5 | 0 of 2 |" in text
    assert "| Language | two | one |" in text
    assert "| mt | 90.0 (50.0) | 85.0 (50.0) |" in text
    assert "| sw | – | 99.0 (50.0) |" in text


@pytest.mark.skipif(not LONG, reason="HARNESS_EXHAUSTIVE=1 runs whole grids: minutes")
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_grid_has_the_scores_of_its_cells_run_alone(executor, run, tmp_path):
    if executor == "ray":
        pytest.importorskip("ray", reason="the executor ray needs: pip install ray")
    grid = {"languages": ["mt", "sk"], "recipes": [str(TORTURE / "recipe.yaml")], "seeds": [1, 2],
            "scales": [str(TORTURE / "tiny.yaml")]}  # fmt: skip
    run("grid", "--executor", executor, "--workers", "2", "--threads", "1", "--runs", "together", **grid)
    for cell in (["mt", "--seed", "1"], ["mt", "--seed", "2"], ["sk", "--seed", "1"], ["sk", "--seed", "2"]):
        options = ["--recipe", *grid["recipes"], "--scale", *grid["scales"], "--threads", "1"]
        app(args=["reproduce", *cell, *options, "--runs", "alone"], standalone_mode=False)
    run("grid", "--collect", "--runs", "alone", **grid)
    together, alone = (Path(root, "grids/grid/results.json").read_bytes() for root in ("together", "alone"))
    assert together == alone
    assert [cell["state"] for cell in json.loads(alone)["cells"]] == ["done"] * 4
