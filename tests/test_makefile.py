"""The front door: its rules, and the language that must not be the shell's locale."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUB = """#!/bin/sh
printf '%s\\n' "$@" > "$STUB_OUT/arguments"
env > "$STUB_OUT/environment"
exit "${STUB_CODE:-0}"
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(tmp_path):
    """Runs a rule with an environment of its own, in which ``harness`` only tells how it was called."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "harness").write_text(STUB)
    (venv / "bin" / "harness").chmod(0o755)
    (venv / ".ready").touch()

    def make(*arguments, **environment):
        return subprocess.run(
            ["make", "-C", str(ROOT), "--no-print-directory", f"VENV={venv}", *arguments],
            env={"PATH": os.environ["PATH"], "STUB_OUT": str(tmp_path), "RUNNER": "local", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return make


@pytest.fixture
def read_call(tmp_path):
    """Return a function that reads the arguments and the environment of the call of ``harness``."""

    def read_call():
        lines = (tmp_path / "environment").read_text().splitlines()
        return (tmp_path / "arguments").read_text().splitlines(), dict(
            line.split("=", 1) for line in lines if "=" in line
        )

    return read_call


def rules():
    """Return the rules for users: the phony rules that do not begin with ``_``."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("arguments", [["help"], []], ids=["help", "nothing"])
def test_help_lists_exactly_the_rules(arguments, make):
    done = make(*arguments)
    assert done.returncode == 0
    assert {line.split()[1] for line in done.stdout.splitlines()} == rules()
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines()), "each says what it does"


def test_every_rule_is_phony():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z_-]+):(?!=)", text, re.MULTILINE))
    assert targets == rules() | {"_base", "_gpu", "_language", "_reproduce-local", "_reproduce-docker"}


@pytest.mark.parametrize(
    "environment", [{}, {"LANG": "mt"}, {"LANG": "en_GB.UTF-8"}], ids=["none", "mt", "locale"]
)
@pytest.mark.parametrize("arguments", [[], ["LANG="]], ids=["absent", "empty"])
def test_missing_language_prints_usage(arguments, environment, make, tmp_path):
    done = make("reproduce", *arguments, **environment)
    assert done.returncode == 2
    usage, *rest = done.stderr.splitlines()
    assert usage.startswith("usage: make reproduce LANG=<code>")
    assert "languages' lists them" in usage
    assert len(rest) <= 1, "make's own word that the rule failed"
    assert not (tmp_path / "arguments").exists()


@pytest.mark.parametrize("environment", [{}, {"LANG": "en_GB.UTF-8", "LC_ALL": "C"}], ids=["none", "locale"])
def test_language_is_an_argument_and_no_locale(environment, make, read_call):
    assert make("reproduce", "LANG=mt", **environment).returncode == 0
    arguments, seen = read_call()
    assert arguments == ["reproduce", "mt", "--scale", "mini", "--runs", "runs"]
    assert "LANG" not in seen
    assert seen["LC_ALL"] == "C.UTF-8"


def test_compare_passes_its_settings(make, read_call):
    assert make("compare", "LANG=mt", "RECIPES=cruz2025,eliquare2023@pre", "DATA=my data").returncode == 0
    arguments, _ = read_call()
    options = ["--lang", "mt", "--scale", "mini", "--runs", "runs", "--recipes", "cruz2025,eliquare2023@pre"]
    assert arguments == ["compare", *options, "--data", "my data"]
    assert make("compare").returncode == 2


def test_settings_with_spaces_are_passed(make, read_call):
    settings = {
        "RECIPE": "my recipe.yaml",
        "SCALE": "my.yaml",
        "RUNS": "my runs",
        "DATA": "my data",
        "TEACHER": "a b",
    }
    assert (
        make("reproduce", "LANG=mt", *(f"{name}={value}" for name, value in settings.items())).returncode == 0
    )
    assert read_call()[0] == [
        "reproduce", "mt", "--recipe", "my recipe.yaml", "--scale", "my.yaml", "--runs", "my runs",
        "--data", "my data", "--teacher", "a b",
    ]  # fmt: skip


def test_failing_run_fails_the_rule(make):
    assert make("reproduce", "LANG=mt", STUB_CODE="1").returncode == 2


def test_existing_environment_is_not_set_up_again(make):
    done = make("reproduce", "LANG=mt")
    assert (done.stdout, done.stderr) == ("", "runner: local, as asked\n")


def test_bench_compare_needs_a_base(make):
    done = make("bench-compare")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("usage: make bench-compare BASE=<record or git revision>")


@pytest.fixture
def python(tmp_path):
    """Puts a python into the environment that only tells how it was called."""
    stub = tmp_path / "venv" / "bin" / "python"

    def put():
        stub.write_text(STUB)
        stub.chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (["bench"], ["-m", "pytest", "benchmarks", "--record", "benchmarks/records"]),
        (["bench-history"], ["-m", "benchmarks.records", "history"]),
        (["bench-compare", "BASE=a b"], ["-m", "benchmarks.regression", "a b", "--clock", "wall"]),
        (
            ["bench-compare", "BASE=main", "CLOCK=cpu", "ACCEPT=operators*", "ONLY=ops: *"],
            [
                "-m",
                "benchmarks.regression",
                "main",
                "--clock",
                "cpu",
                "--accept",
                "operators*",
                "--only",
                "ops: *",
            ],
        ),
    ],
    ids=["bench", "history", "compare", "settings"],
)
def test_benchmarks_are_run_by_their_modules(rule, expected, make, python, tmp_path):
    python()
    assert make(*rule).returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines() == expected


def test_clean_keeps_the_runs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path / "Makefile")
    for name in ("runs/mt", "build", ".venv/bin", "harness/__pycache__", ".mypy_cache"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["make", "-C", str(tmp_path), "clean"], check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "runs", "harness"}
    assert (tmp_path / "runs/mt").is_dir()
    assert not (tmp_path / "harness/__pycache__").exists()
