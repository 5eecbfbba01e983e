"""What an exported folder's program, page and card print is what the head of the model means."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from harness.deploy.export_model import export_model
from harness.errors import HarnessError
from harness.export.source import load_source

TEXT = "word1 word2 b a word7"
NAMES = ("toxic", "an insult", "a|threat*")
SEVERAL, NUMBERS = "multi_label_classification", "regression"


@pytest.fixture
def save(tiny, tmp_path):
    """Return a function that saves a tiny model with a head whose outputs are far apart."""

    def make(
        names: tuple[str, ...], problem: str | None, ending: str = "ForSequenceClassification", **changes
    ) -> Path:
        maps = {
            "id2label": dict(enumerate(names)),
            "label2id": {name: place for place, name in enumerate(names)},
        }
        model, tokenizer = tiny("bert", ending, problem_type=problem, **maps, **changes)
        with torch.no_grad():
            model.classifier.bias.copy_(torch.linspace(3, -3, len(names)) + 0.3)
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return make


def export(model: Path, task: str = "hate", **options) -> tuple[Path, object]:
    out = model.parent / "out"
    record = export_model(
        model, task, out, graphs=("legacy",), precisions=(), length=32, seconds=0.05, **options
    )
    return out, record


def predict(out: Path, *words: str, **environment: str) -> dict:
    command = [sys.executable, str(out / "predict.py"), *(words or (TEXT,))]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def compute_logits(model: Path, task: str = "hate") -> np.ndarray:
    source = load_source(model, task)
    with torch.no_grad():
        return source.model(**source.tokenizer(TEXT, return_tensors="pt")).logits[0].double().numpy()


def show_in_page(out: Path, logits: np.ndarray) -> list[dict]:
    """Return what the page shows of these logits, by its own code in Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    page = (Path(harness.__file__).parent / "web" / "page" / "model.js").as_uri()
    dims, data = json.dumps([1, *logits.shape]), json.dumps(logits.flatten().tolist())
    code = f"""
import {{ Model, describe }} from '{page}';
const ort = {{ Tensor: class {{}} }};
const logits = {{ dims: {dims}, data: Float32Array.from({data}) }};
const session = {{ inputNames: [], run: async () => ({{ logits }}) }};
const tokenizer = {{ encode: () => ({{ ids: [2, 5, 3], tokens: ["a", "b", "c"] }}) }};
const config = {(out / "config.json").read_text(encoding="utf-8")};
console.log(JSON.stringify(describe(await new Model(ort, session, tokenizer, config).predict("text"))));
"""
    done = subprocess.run([node, "--input-type=module", "-e", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_several_labels_have_a_probability_each(save):
    model = save(NAMES, SEVERAL)
    out, record = export(model)
    logits = compute_logits(model)
    shares = dict(zip(NAMES, 1 / (1 + np.exp(-logits)), strict=True))
    assert min(shares.values()) < 0.3
    assert sum(shares.values()) > 1.2
    got = predict(out)
    assert {*got} == {"probabilities"}
    assert got["probabilities"] == pytest.approx(shares, abs=2e-4)
    assert show_in_page(out, logits) == [
        {"word": name, "label": f"{100 * one:.1f} %"} for name, one in shares.items()
    ]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "What it returns: a probability for each label by itself, by sigmoid" in card
    assert "a\\|threat" in card
    assert (record.problem, record.files[0].argmax_agreement) == (SEVERAL, 1)


def test_regression_prints_its_number(save):
    model = save(("LABEL_0",), None)
    out, record = export(model, "nli")
    (logit,) = compute_logits(model)
    got = predict(out, f"{TEXT}\tword1")
    assert {*got} == {"value"}
    assert show_in_page(out, np.array([logit]))[0]["word"] == f"{logit:.3f}"
    card = (out / "README.md").read_text(encoding="utf-8")
    assert (
        "What it returns: the logits as they are: numbers, not labels (`problem_type` in `config.json`: regr"
        in card
    )
    assert "LABEL_0" not in card
    assert record.files[0].argmax_agreement is None
    assert json.loads((out / "config.json").read_text())["problem_type"] == NUMBERS


def test_regression_of_several_numbers_names_them(save):
    model = save(("valence", "arousal"), NUMBERS)
    out, _ = export(model, "sentiment", layout="transformers.js")
    expected = dict(zip(("valence", "arousal"), compute_logits(model), strict=True))
    assert predict(out)["values"] == pytest.approx(expected, abs=2e-4)
    assert [one["word"] for one in show_in_page(out, compute_logits(model))] == ["valence", "arousal"]
    assert "Its pipelines have no regression" in (out / "README.md").read_text(encoding="utf-8")


def test_one_label_is_printed_as_before_in_any_alphabet(save):
    names = ("спорт", "zdravie", "🏠")
    model = save(names, None)
    out, record = export(model, "topic")
    logits = compute_logits(model)
    best = int(logits.argmax())
    for environment in ({}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}):
        got = predict(out, **environment)
        assert {*got} == {"label", "probability"}
        assert got["label"] == names[best]
        assert got["probability"] == pytest.approx(np.exp(logits)[best] / np.exp(logits).sum(), abs=2e-4)
    assert record.meaning == "one label a text, with its probability by softmax"


def test_head_without_one_label_is_not_scored_against_a_task(save):
    with pytest.raises(HarnessError, match=f"to score it on 'topic'; got {SEVERAL}; leave --lang out"):
        export(save(("fields", "sea", "town"), SEVERAL), "topic", language="mt")


def test_token_head_of_several_labels_is_refused_at_export(save):
    with pytest.raises(HarnessError, match="a token head of this kind cannot be exported"):
        export(save(("O", "B-PER"), SEVERAL, "ForTokenClassification"), "ner")


def test_head_of_another_size_than_its_names_is_refused_with_both_shapes(save):
    model = save(("a", "b", "c"), None)
    keys = json.loads((model / "config.json").read_text())
    keys |= {"id2label": {"0": "a", "1": "b"}, "label2id": None}
    (model / "config.json").write_text(json.dumps(keys))
    with pytest.raises(
        HarnessError, match=r"got 'classifier\.\w+' of shape \[3(, 32)?\], not \[2(, 32)?\]; name the"
    ):
        export(model, "topic")
