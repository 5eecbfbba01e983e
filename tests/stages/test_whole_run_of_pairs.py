"""A task with text pairs goes through every stage, and its export predicts like the model."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.config.load import load_recipe, load_scale
from harness.deploy.export_model import export_model
from harness.measure.predictions import FILE, read_predictions
from harness.plans.run import plan_run

PAIRS = (("kadin mifa toki", "kadin mifa", "yes"), ("rafa kadin", "kadin rafa selmo", "no"))


def write_pairs(root):
    folder = root / "nli/mt"
    folder.mkdir(parents=True)
    drawn = random.Random(3)
    for part, number in (("train", 16), ("dev", 8), ("test", 10)):
        rows = ["\t".join(drawn.choice(PAIRS)) for _ in range(number - 2)]
        text = "\n".join(["premise\thypothesis\tlabel", *map("\t".join, PAIRS), *rows])
        (folder / f"{part}.tsv").write_text(f"{text}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_data, write_teacher):
    """A folder with data and a teacher."""
    root = tmp_path_factory.mktemp("pairs")
    write_teacher(root / "teacher")
    write_pairs(write_data(root / "data"))
    return root


@pytest.fixture(scope="module")
def finished(root, write_scale, write_recipe, run_plan):
    data, teacher = root / "data", root / "teacher"
    changes = {
        "corpus": {"source": "folder", "folder": str(data), "held_out_fraction": 0.1},
        "tasks": {"source": "folder", "folder": str(data), "names": ["nli"]},
        "score.seeds": [1],
        "score.baselines": ["static", "tfidf", "majority"],
        "export.precisions": ["int8"],
    }
    scale = load_scale(write_scale(root, changes)).with_teacher(str(teacher))
    recipe = load_recipe(write_recipe(root, [{"shorten": {"layers": "1/2", "keep": "last"}}]))
    plan = plan_run("mt", recipe, scale)
    return run_plan(plan, root / "runs", data)


def test_task_with_text_pairs_runs_to_the_report(finished):
    report = json.loads((finished.folder("report") / "results.json").read_text(encoding="utf-8"))
    assert report["declared"]["tasks"] == {"nli": "accuracy"}
    assert {row["task"] for row in report["exports"]} == {"nli"}
    assert finished.facts("export.nli.student")["fp32"]["max_abs_delta"] <= 1e-4
    (copy,) = finished.facts("precisions")["copies"]
    assert (copy["task"], copy["verdict"]["num_items"]) == ("nli", 8)


def test_export_of_text_pairs_has_the_recorded_score(finished, tmp_path):
    source = finished.folder("score.nli.teacher") / "model"
    record = export_model(
        source, "nli", tmp_path / "out", graphs=("legacy",), precisions=(), language="mt", data=finished.data,
        length=32, seconds=0.05,
    )  # fmt: skip
    assert record.paired
    assert "premise" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    (row,) = record.files
    recorded = finished.facts("score.nli.teacher")["scores"]["metrics"]["accuracy"]["mean"]
    assert row.scores["accuracy"]["value"] == pytest.approx(recorded)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(source),
        AutoModelForSequenceClassification.from_pretrained(source).eval(),
    )
    given = tokenizer([one[0] for one in PAIRS], [one[1] for one in PAIRS], padding=True, return_tensors="pt")
    assert given["token_type_ids"].any(), "the second text has its own token type"
    with torch.inference_mode():
        shares = model(**given).logits.softmax(-1)
    asked = [sys.executable, str(tmp_path / "out/predict.py")]
    text = "".join(f"{first}\t{second}\n" for first, second, _ in PAIRS)
    done = subprocess.run(asked, input=text.encode(), capture_output=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["probability"] for one in said] == pytest.approx(shares.max(-1).values.tolist(), abs=1e-3)
    scored = read_predictions(finished.folder("score.nli.teacher") / FILE)
    assert [one["label"] for one in said] == [scored.seeds[0][place] for place in (0, 1)]
    for lone in ("kadin mifa", "kadin mifa\t "):
        done = subprocess.run([*asked, lone], capture_output=True, check=False, text=True)
        assert done.returncode == 1
        assert done.stderr == "predict: expected two texts with a tab between them; got one; add the other\n"
