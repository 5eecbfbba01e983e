"""A whole study on a small data folder: its leaderboard, and the stages that its entries share."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from harness import cli
from harness.report.results import read_results

STUDY = {
    "source": "made for the tests",
    "question": "Does the loss matter?",
    "paper": "It does.",
    "variants": {
        "mean squares": {"distill.loss": {"logit_mse": 1}},
        "less text": {"distill.text_fraction": 0.5, "distill.tokens": 300},
        "distilled": {
            "steps": ["shorten", {"tune": {"teacher": "teacher", "loss": {"class_mse": 1}, "start": "tuned"}}]
        },
    },
}
STEPS = [
    {"shorten": {"layers": "1/2", "keep": "last"}},
    {"distill": {"teacher": "teacher", "loss": {"mlm": 0.5, "logit_mse": 0.5}}},
    {"trim": {"tokens": "2/3"}},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_scale, write_recipe, write_data, write_teacher):
    root = tmp_path_factory.mktemp("study")
    write_data(root / "data")
    write_teacher(root / "teacher")
    changes = {"score.seeds": [1, 2], "score.baselines": ["majority"], "tasks.names": ["pos", "topic", "ner"]}
    write_scale(root, changes)
    recipe = write_recipe(root, STEPS)
    write_recipe(root, STEPS[2:], name="onlytrim")
    (root / "loss.yaml").write_text(
        yaml.safe_dump(STUDY | {"recipe": str(recipe)}, sort_keys=False), encoding="utf-8"
    )
    return root


@pytest.fixture
def run(place, monkeypatch, capsys):
    def run(*given):
        options = ["--scale", "tiny.yaml", "--data", "data", "--teacher", "teacher", "--lang", "mt"]
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["harness", *given, *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert ended.value.code == 0, printed.err
        return printed

    return run


def manifests(place):
    return {
        path.parent.name: json.loads(path.read_text()) for path in place.glob("runs/mt/*/*/manifest.json")
    }


def test_study_is_run_once(run, place):
    printed = run("ablate", "loss.yaml")
    folder = place / "runs/mt/ablate-loss-tiny"
    results = read_results(folder / "results.json")
    assert [one.name for one in results.list_models("student")] == [
        "as written",
        "mean squares",
        "less text",
        "distilled",
    ]
    distilled, plain = (results.find_score(model, "topic").signature for model in ("distilled", "as_written"))
    assert "lesson=1*class_mse/tuned" in distilled
    assert "lesson" not in plain
    assert results.study.question == "Does the loss matter?"
    assert set(results.declared.tasks) == {"pos", "topic"}
    assert "Does the loss matter? The paper: It does." in printed.out
    assert "### Leaderboard" in printed.out
    assert "### Compared with as written" in printed.out
    assert "not scored: ner" in printed.err
    assert {path.name for path in folder.glob("*.*")} >= {
        "leaderboard.md",
        "leaderboard.html",
        "results.json",
        "score-by-variant.svg",
    }
    made = manifests(place)
    assert sum(one["kind"] == "shorten" for one in made.values()) == 1, "one for all variants"
    assert sum(one["kind"] == "distill" for one in made.values()) == 3
    cost = {one.model: one for one in results.costs}
    trained = {one.step: one.tokens for one in results.training}
    assert cost["as_written"].tokens == trained["as_written.distill"] > trained["less_text.distill"]
    by_key = {one["key"]: one for one in made.values()}
    assert cost["as_written"].wall_s == pytest.approx(
        sum(by_key[key]["wall_s"] for key in cost["as_written"].keys)
    )
    pairs = {(one.model, one.other) for one in results.comparisons}
    assert {("mean_squares", "as_written"), ("mean_squares", "teacher"), ("majority", "teacher")} <= pairs
    assert all(one.signature for one in results.scores)
    before = set(made)
    assert "0 stages run" in run("ablate", "loss.yaml").err
    assert set(manifests(place)) == before


def test_compared_recipes_share_stages(run, place):
    printed = run("compare", "--recipes", "onlytrim.yaml,short.yaml")
    results = read_results(place / "runs/mt/compare-tiny/results.json")
    assert {one.id for one in results.list_models("student")} == {"onlytrim", "short"}
    cost = {one.model: one.tokens for one in results.costs}
    assert cost["onlytrim"] == 0 < cost["short"]
    assert {one.model for one in results.exports} == {"teacher", "onlytrim", "short"}
    assert {one.task for one in results.exports} == {"topic"}
    assert all(one.p50_ms for one in results.exports)
    assert "Which recipe gives the best model?" in printed.out


def test_plan_option_runs_nothing(run, place):
    before = set(manifests(place))
    printed = run("ablate", "short.yaml", "--vary", "shorten.keep=first,last", "--plan")
    assert "shorten.keep = last = as written: shorten, distill, trim" in printed.out
    assert " of them different: " in printed.out
    assert " fine-tunings" in printed.out
    assert set(manifests(place)) == before
