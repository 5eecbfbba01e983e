from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest

from harness.errors import HarnessError
from harness.export import quantize
from harness.export.graphs import WAYS, write_graph
from harness.measure.onnx_evaluation import open_session
from harness.measure.parity import compare_logits, probe_batches
from harness.precisions import PRECISIONS
from harness.tasks import HEADS

INPUTS = {
    "bert": ("input_ids", "attention_mask", "token_type_ids"),
    "xlm-roberta": ("input_ids", "attention_mask"),
}


@pytest.fixture(params=["bert legacy", "xlm-roberta legacy", "xlm-roberta dynamo"])
def case(request, tiny, graphs, tmp_path):
    """A model, its inputs and its ONNX file."""
    family, way = request.param.split()
    if family == "xlm-roberta":
        model, folder = graphs
        return model, INPUTS[family], folder / f"{way}.onnx"
    model, _ = tiny(family, HEADS["pos"].suffix, hidden_size=64, vocab_size=600)
    path = tmp_path / "model.onnx"
    write_graph(model, path, WAYS[way], head=HEADS["pos"], inputs=INPUTS[family], max_length=64)
    return model, INPUTS[family], path


def test_int8_is_smaller_standard_and_close(read_axes, tmp_path: Path, capfd, case):
    model, inputs, source = case
    capfd.readouterr()
    done = quantize.quantize_dynamically(source, tmp_path / PRECISIONS["int8"].file)
    assert "".join(capfd.readouterr()) == ""
    assert done.size_bytes == done.path.stat().st_size < 0.55 * source.stat().st_size
    graph = onnx.load(done.path)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    floats = [
        one
        for one in graph.graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) == 2
    ]
    assert max((one.dims[0] * one.dims[1] for one in floats), default=0) < 600 * 64
    assert read_axes(done.path) == read_axes(source)
    batches = probe_batches(inputs, vocabulary=600, pad_id=model.config.pad_token_id, max_length=64)
    parity = compare_logits(model, open_session(done.path), batches)
    assert parity.max_abs_delta > 0
    assert parity.argmax_agreement > 0.8


def test_a_preparation_that_fails_is_recorded_and_the_next_is_tried(tiny, tmp_path: Path, monkeypatch):
    model, _ = tiny("bert", "ForTokenClassification")
    source = tmp_path / "model.onnx"
    write_graph(model, source, WAYS["legacy"], head=HEADS["pos"], inputs=INPUTS["bert"], max_length=64)

    def fail(*arguments, **settings):
        raise ValueError("Incomplete symbolic shape inference\nmore")

    monkeypatch.setattr(quantize, "quant_pre_process", fail)
    done = quantize.quantize_dynamically(source, tmp_path / "int8.onnx")
    assert done.prepared == "none"
    assert done.refusals[0] == "symbolic: Incomplete symbolic shape inference"
    assert logging.getLogger().filters == []


def test_missing_and_corrupt_files_are_refused(tmp_path: Path):
    with pytest.raises(
        HarnessError, match=r"quantize: expected an ONNX file at .*; got none; export the model first"
    ):
        quantize.quantize_dynamically(tmp_path / "none.onnx", tmp_path / "int8.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(
        HarnessError, match=r"quantize: expected an int8 copy of .*; keep the fp32 file"
    ) as caught:
        quantize.quantize_dynamically(tmp_path / "bad.onnx", tmp_path / "int8.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "int8.onnx").exists()
