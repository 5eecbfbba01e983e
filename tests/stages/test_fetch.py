"""The stage that takes a teacher from a folder: what it refuses."""

from __future__ import annotations

import json

import pytest

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.stages import fetch


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", r"expected weights \(model.safetensors\); got none; save the model as"),
        ("tokenizer.json", r"expected a tokenizer .*; got none; save the tokenizer in the model's folder"),
        ("config.json", r"expected config.json; got a folder without it; name the folder of a saved model"),
    ],
)
def test_teacher_without_a_file_is_refused(name, message, make_context, write_teacher, tmp_path):
    folder = write_teacher(tmp_path / "teacher")
    (folder / name).unlink()
    with pytest.raises(HarnessError, match=message):
        fetch.run(make_context({"name": "small", "shape": {}}, {"folder": folder}))


def test_teacher_of_another_shape_than_planned_is_refused(make_context, write_teacher, tmp_path):
    folder = write_teacher(tmp_path / "teacher")
    planned = Shape.from_transformers(json.loads((folder / "config.json").read_text())).model_dump() | {
        "ffn": 25
    }
    with pytest.raises(HarnessError, match=r"expected ffn 25, as planned; got 24; take another"):
        fetch.run(make_context({"name": "small", "shape": planned}, {"folder": folder}))
