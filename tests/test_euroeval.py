"""The dataset configurations for EuroEval name the data that this project reads."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from harness.languages import LANGUAGES

FOLDER = Path(__file__).parents[1] / "contrib/euroeval/dataset_configs"
TASKS = {"TEXT_CLASSIFICATION": "topic", "NER": "ner", "SENT": "sentiment"}


@pytest.fixture
def load(monkeypatch):
    """Return a function that loads a file of configurations with EuroEval's names, and lists them."""

    def add(name, **values):
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)

    names = [row.name.upper() for row in LANGUAGES.values()]
    add("upstream", __path__=[])
    add("upstream.data_models", DatasetConfig=SimpleNamespace)
    add("upstream.enums", ModelType=SimpleNamespace(ENCODER="encoder"))
    add("upstream.languages", **{name: name for name in names})
    add("upstream.tasks", **{name: name for name in TASKS})
    add("upstream.dataset_configs", __path__=[str(FOLDER)])

    def load(language):
        name = f"upstream.dataset_configs.{language}"
        monkeypatch.delitem(sys.modules, "upstream.dataset_configs.named_labels", raising=False)
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{language}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return [value for key, value in vars(module).items() if key.endswith("_CONFIG")]

    return load


@pytest.mark.parametrize("code", ["mt", "sw", "tl"])
def test_configurations_name_the_sources_that_are_read_here(code, load):
    row = LANGUAGES[code]
    configs = load(row.name.lower())
    assert {TASKS[one.task] for one in configs} == {"topic", "ner", "sentiment"} & row.tasks.keys()
    for one in configs:
        ours = row.tasks[TASKS[one.task]]
        assert one.source == "::".join(filter(None, (ours.hub, ours.config)))
        assert (one.languages, one.allowed_model_types) == ([row.name.upper()], ["encoder"])
        assert vars(one).get("target_column", ours.columns[-1]) == ours.columns[-1]
        if ours.labels is not None:
            assert one.labels == [label.lower() for label in ours.labels]


def test_numbered_labels_become_names(load):
    ner = next(one for one in load("maltese") if one.task == "NER")
    tags = ClassLabel(names=[label.upper() for label in ner.labels])
    columns = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(tags)})
    rows = {"tokens": [["Malta", "hija"]], "ner_tags": [[5, 0]]}
    named = ner.preprocessing_func(DatasetDict(test=Dataset.from_dict(rows, columns)))
    assert named["test"][0] == {"tokens": ["Malta", "hija"], "labels": ["b-loc", "o"]}

    sentiment = next(one for one in load("maltese") if one.task == "SENT")
    columns = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    rows = {"text": ["Tajjeb."], "label": [1]}
    named = sentiment.preprocessing_func(DatasetDict(test=Dataset.from_dict(rows, columns)))
    assert named["test"][0] == {"text": "Tajjeb.", "label": "positive"}
