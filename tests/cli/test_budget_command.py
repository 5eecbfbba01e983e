"""`harness plan --budget`: the table, the file that it writes, JSON, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.cli.app import app
from harness.config.shape import KNOWN_TEACHERS
from harness.deploy.latency_table import LatencySetting, keep_table, list_table_shapes

E5 = KNOWN_TEACHERS["e5-small"].shape


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    """Keep a table of invented latencies, so that nothing is timed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shapes = list_table_shapes(E5)
    medians = [0.3 + 1e-6 * one.layers * one.hidden * (one.hidden + one.ffn) for one in shapes]
    return keep_table(E5, LatencySetting("int8", 128, 1), medians)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        app(args=["plan", "sl", "--scale", "laptop", *map(str, arguments)], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_table_says_what_it_is_computed_from(run, table):
    said = run("--budget", "6 MB int8, 2 ms")
    assert "at most 6 MB and 2 ms in int8" in said
    assert f"from {len(table.shapes)} students timed on this machine ({table.path})" in said
    assert "cost: a proxy that ranks shapes and forecasts no score" in said
    assert "- shorten: {layers: " in said


def test_json_has_the_proposals_and_the_recipe(run):
    printed = json.loads(run("--budget", "6 MB int8, 2 ms", "--json"))
    assert printed["budget"] == {"precision": "int8", "size_bytes": 6e6, "latency_ms": 2.0}
    assert printed["setting"] == {"precision": "int8", "length": 128, "threads": 1}
    best = printed["proposals"][0]
    assert best["size_bytes"] <= 6e6
    assert best["latency_ms"] <= 2
    assert printed["recipe"].startswith("source: ")


def test_written_recipe_is_planned(run, tmp_path):
    path = tmp_path / "mine.yaml"
    run("--budget", "6 MB int8, 2 ms", "--write", path)
    assert "harness plan" not in path.read_text(encoding="utf-8").split("steps:")[1]
    printed = json.loads(run("--recipe", path, "--data", _write_text(tmp_path), "--score", "none", "--json"))
    assert "narrow" in {stage["kind"] for stage in printed["stages"]}


def _write_text(folder):
    text = folder / "data/corpus/sl/text.txt"
    text.parent.mkdir(parents=True)
    text.write_text("Dober dan.\n\nLahko noč.\n", encoding="utf-8")
    return folder / "data"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--budget", "4 bananas"], "--budget: expected a size, a latency or both"),
        (["--budget", "4 MB int4"], "unknown precision 'int4'; there are: fp32"),
        (["--budget", "0.1 MB"], "plan: expected a student of at most 0.1 MB in int8; got none; the nearest"),
        (["--budget", "4 MB, 0.001 ms"], "plan: expected a student of at most 4 MB and 0.001 ms in int8"),
        (["--budget", "4 MB", "--length", "513"], "--length: expected at most 512 tokens"),
        (["--budget", "4 MB", "--write", "a.txt"], "--write a.txt: expected a new file that ends in .yaml"),
        (["--write", "a.yaml"], "--write: expected --budget too; got none; add it"),
        (["--threads", "2"], "--threads: expected --budget too; got none; add it"),
    ],
)
def test_bad_input_is_one_line(refused, given, line):
    code, said = refused("plan", "sl", "--scale", "laptop", *given)
    assert code == 2
    assert said.startswith(line)


def test_budget_of_a_grid_is_refused(refused):
    code, said = refused("plan", "grid.yaml", "--budget", "4 MB")
    assert code == 2
    assert said.startswith("--budget: expected a language; got the file of a grid")


def test_kept_table_needs_no_torch(table):
    del table
    words = ["plan", "sl", "--scale", "laptop", "--budget", "6 MB, 2 ms"]
    code = (
        "import sys; from harness.cli.app import app; import harness.cli.runs\n"
        f"app(args={words}, standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
