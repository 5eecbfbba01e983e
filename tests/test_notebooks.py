"""The notebooks run, with small models in the place of their parameters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs/notebooks"
PARAMETERS = "parameters"
"""The tag of the cell whose values a reader changes, as papermill has it."""


def read_cells(name):
    """Return the cells of a notebook, which must be of the published format and hold no output."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    return notebook["cells"]


def run_notebook(name, **parameters):
    """Run the code of a notebook with other parameters; return its variables."""
    variables = {}
    for cell in read_cells(name):
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), f"{name}.ipynb", "exec"), variables)
        if PARAMETERS in cell["metadata"].get("tags", ()):
            assert parameters.keys() <= variables.keys()
            variables |= parameters
    return variables


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, write_teacher):
    return write_teacher(tmp_path_factory.mktemp("notebooks") / "teacher", positions=128)


def test_every_notebook_is_run_here():
    names = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert names == {"compress-a-teacher", "score-and-compare", "export-and-predict"}


def test_compress_a_teacher(teacher, write_data, tmp_path):
    (text, *_) = sorted((write_data(tmp_path / "data") / "corpus/mt").iterdir())
    given = {"TEACHER": str(teacher), "TEXT": str(text), "KEPT": "2/3", "TOKENS": 2048 * 10}
    given |= {"OUT": str(tmp_path / "student")}
    variables = run_notebook("compress-a-teacher", **given)
    assert variables["student"].num_parameters < variables["teacher"].num_parameters
    assert variables["losses"]
    assert (tmp_path / "student/model.safetensors").is_file()


def test_score_and_compare(teacher, write_data, write_scale, tmp_path, capsys):
    given = {"MODELS": [str(teacher)], "SCALE": str(write_scale(tmp_path)), "TASKS": "topic"}
    given |= {"DATA": write_data(tmp_path / "data"), "RUNS": str(tmp_path / "runs")}
    variables = run_notebook("score-and-compare", **given)
    assert variables["card"].tasks == {"topic": "macro_f1"}
    assert "topic, macro_f1" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_export_and_predict(task, teacher, tmp_path, capsys):
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    kind = AutoModelForTokenClassification if task == "ner" else AutoModelForSequenceClassification
    labels = {0: "O", 1: "B-LOC"} if task == "ner" else {0: "sports", 1: "travel"}
    kind.from_pretrained(teacher, id2label=labels).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(teacher).save_pretrained(tmp_path / "model")
    given = {"MODEL": str(tmp_path / "model"), "TASK": task, "OUT": str(tmp_path / "onnx")}
    run_notebook("export-and-predict", **given, TEXTS=["word1 word2"])
    printed = capsys.readouterr().out
    assert "take " in printed
    assert ("word2" in printed) is (task == "ner")
