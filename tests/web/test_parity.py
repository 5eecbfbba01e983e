"""Python, Node and Chromium predict the same ids and labels for 200 sentences in five languages."""

from __future__ import annotations

import pytest

from harness.export.predict import Predictor

pytestmark = pytest.mark.slow


def predict_in_python(folder, file, sentences):
    model = Predictor(folder, file)
    return [model.predict(one) for one in sentences]


def pair_ids_with_labels(predictions):
    return [(one["ids"], one.get("labels", one.get("label"))) for one in predictions]


@pytest.mark.parametrize("kind", ["tagger", "classifier"])
def test_node_predicts_like_python(exported, node, sentences, kind):
    folder = exported(kind)
    want = predict_in_python(folder, "onnx/model.onnx", sentences)
    got = node("node.mjs", folder, "onnx/model.onnx", given=sentences)
    assert pair_ids_with_labels(got) == pair_ids_with_labels(want)
    labels = set()
    for _, predicted in pair_ids_with_labels(want):
        labels.update(predicted if kind == "tagger" else [predicted])
    assert len(labels) > 1


@pytest.mark.parametrize("kind", ["tagger", "classifier"])
@pytest.mark.parametrize("dtype", ["fp32", "q8"])
def test_transformers_js_predicts_like_python(exported, node, sentences, kind, dtype):
    folder = exported(kind)
    file = {"fp32": "onnx/model.onnx", "q8": "onnx/model_quantized.onnx"}[dtype]
    want = pair_ids_with_labels(predict_in_python(folder, file, sentences))
    head = "token" if kind == "tagger" else "sequence"
    got = node("transformers.mjs", folder, dtype, head, given=sentences)
    if kind == "tagger":
        assert [(one["ids"][1:-1], one["labels"][1:-1]) for one in got] == want
    else:
        assert [(one["ids"], one["labels"][0]) for one in got] == want
