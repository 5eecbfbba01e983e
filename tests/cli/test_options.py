"""Options that many commands have: --version, -h, --lang, --seed, --device, and a run's folder for report."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from harness import __version__
from harness.api.options import ScaleOptions, choose_scale, plan_chosen_run
from harness.cli.app import app, choose_language
from harness.cli.device import select_device
from harness.errors import HarnessError, UsageError


@pytest.fixture
def run(capsys):
    """Return a function that runs a command and returns what it printed."""

    def run(*arguments):
        app(args=list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_version_is_printed(capsys):
    code = app(args=["--version"], standalone_mode=False)
    assert not code
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("arguments", [["-h"], ["plan", "-h"], ["recipe", "show", "-h"]])
def test_short_help_is_the_long_one(arguments, capsys):
    app(args=arguments, standalone_mode=False)
    short = capsys.readouterr().out
    app(args=[*arguments[:-1], "--help"], standalone_mode=False)
    assert short == capsys.readouterr().out


def test_help_cuts_no_summary(capsys):
    app(args=["--help"], standalone_mode=False)
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_completion_lists_the_commands():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'harness'; from harness.cli import main; main()"],
        env={
            **os.environ,
            "_HARNESS_COMPLETE": "complete_bash",
            "COMP_WORDS": "harness re",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert set(done.stdout.split()) == {"reproduce", "report", "recipe"}


def test_language_is_an_argument_or_an_option():
    assert choose_language("mt", None) == choose_language(None, "mt") == choose_language("mt", "mt") == "mt"


@pytest.mark.parametrize(
    ("argument", "option", "message"),
    [
        ("mt", "sl", "--lang: expected one language; got mt and sl; remove one"),
        (None, None, "--lang: expected a language, as mt; got none; add it"),
    ],
)
def test_two_languages_or_none_are_refused(argument, option, message):
    with pytest.raises(UsageError, match=message):
        choose_language(argument, option)


@pytest.mark.parametrize("spelling", [["mt"], ["--lang", "mt"], ["--language", "mt"]])
def test_every_spelling_of_the_language_makes_one_plan(spelling, run, tmp_path):
    assert (
        json.loads(run("plan", *spelling, "--json", "--runs", str(tmp_path)))["run"] == "mt/gurgurov2025-mini"
    )


def test_seed_replaces_that_of_the_scale():
    assert choose_scale("mini", ScaleOptions(seed=7)).seed == 7
    assert choose_scale("mini", ScaleOptions()).seed == 1


def test_device_cpu_hides_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert select_device("cpu") == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_unknown_device_is_refused():
    with pytest.raises(UsageError, match="unknown device 'tpu'; there are: auto, cpu, cuda, cuda:NUMBER"):
        select_device("tpu")


def test_device_that_is_absent_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda:3: expected a GPU that torch can use; got none"):
        select_device("cuda:3")


def test_report_takes_the_folder_of_a_run(run, tmp_path):
    (tmp_path / "results.json").write_text('{"run": {}}')
    (tmp_path / "report.md").write_text("# The report")
    assert run("report", str(tmp_path)).strip() == "# The report"
    assert json.loads(run("report", str(tmp_path), "--json")) == {"run": {}}


def test_report_of_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"expected the folder of a finished run, with .*; got none"):
        app(args=["report", str(tmp_path / "x")], standalone_mode=False)


def test_names_of_languages_are_understood():
    with pytest.raises(UsageError, match="Did you mean 'mt', Maltese"):
        plan_chosen_run("Maltese", None, "mini", ScaleOptions())


def test_unknown_language_names_the_option_that_helps():
    with pytest.raises(UsageError, match="use --data DIR for text of your own, or a scale that reads"):
        plan_chosen_run("hr", None, "mini", ScaleOptions())


@pytest.mark.parametrize(
    "words",
    [
        ("reproduce", "mt"),
        ("pretrain", "--out", "teacher"),
        ("compare", "--lang", "mt", "--recipes", "gurgurov2025"),
        ("ablate", "gurgurov2025-loss", "--lang", "mt"),
    ],
    ids=lambda words: words[0],
)
def test_checkpoint_every_reaches_the_stages(words, monkeypatch, tmp_path):
    """The option used to be absent; an option that a command drops on the way is as bad."""
    given = []

    def note(*_, checkpoint_s=None, **__):
        given.append(checkpoint_s)
        raise HarnessError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.cli.runs.finish_run", note)
    monkeypatch.setattr("harness.cli.runs.run_stages", note)
    monkeypatch.setattr("harness.cli.studies.run_stages", note)
    with pytest.raises(HarnessError):
        app(args=[*words, "--checkpoint-every", "7"], standalone_mode=False)
    assert given == [7.0]
