"""Python, Node and Chromium say the same: ids and labels of 200 sentences in five languages."""

from __future__ import annotations

import pytest

from harness.export.predict import Predictor

pytestmark = pytest.mark.slow


def python_says(folder, file, sentences):
    model = Predictor(folder, file)
    return [model.predict(one) for one in sentences]


def ids_and_labels(said):
    return [(one["ids"], one.get("labels", one.get("label"))) for one in said]


@pytest.mark.parametrize("kind", ["tagger", "classifier"])
def test_node_says_what_python_says(exported, node, sentences, kind):
    folder = exported(kind)
    want = python_says(folder, "onnx/model.onnx", sentences)
    assert ids_and_labels(node("node.mjs", folder, "onnx/model.onnx", given=sentences)) == ids_and_labels(
        want
    )
    labels = {label for _, told in ids_and_labels(want) for label in ([told] if kind != "tagger" else told)}
    assert len(labels) > 1


@pytest.mark.parametrize("kind", ["tagger", "classifier"])
@pytest.mark.parametrize("dtype", ["fp32", "q8"])
def test_transformers_js_finds_the_files_by_name_and_says_what_python_says(
    exported, node, sentences, kind, dtype
):
    folder = exported(kind)
    file = {"fp32": "onnx/model.onnx", "q8": "onnx/model_quantized.onnx"}[dtype]
    want = ids_and_labels(python_says(folder, file, sentences))
    head = "token" if kind == "tagger" else "sequence"
    got = node("transformers.mjs", folder, dtype, head, given=sentences)
    if kind == "tagger":
        assert [(one["ids"][1:-1], one["labels"][1:-1]) for one in got] == want
    else:
        assert [(one["ids"], one["labels"][0]) for one in got] == want
