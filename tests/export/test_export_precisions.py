from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest

from harness.errors import HarnessError, UsageError
from harness.export.decomposed_layernorm import decompose_layernorm
from harness.export.graphs import WAYS, write_graph
from harness.export.operators import group_operators
from harness.export.precisions import write_precision
from harness.export.quantize import choose_weights
from harness.export.shared_weights import share_transposed, store_transposed
from harness.measure.onnx_evaluation import open_session
from harness.measure.parity import compare_logits, probe_batches
from harness.precisions import COPIES, PRECISIONS
from harness.tasks import HEADS

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
SMALLER = {"fp16": 0.6, "int8": 0.5, "uint8": 0.5, "int8-static": 0.6, "q4": 0.5, "q4f16": 0.4}


@pytest.fixture(scope="module")
def written(tiny, tmp_path_factory):
    """A model, its fp32 file and batches that test it."""
    model, _ = tiny("bert", "ForTokenClassification", hidden_size=64, intermediate_size=128, vocab_size=600)
    path = tmp_path_factory.mktemp("precisions") / "model.onnx"
    write_graph(model, path, WAYS["legacy"], head=HEADS["pos"], inputs=INPUTS, max_length=64)
    return model, path, probe_batches(INPUTS, vocabulary=600, pad_id=0, max_length=64)


@pytest.mark.parametrize("precision", SMALLER)
def test_every_precision_is_small_close_and_silent(written, read_axes, tmp_path: Path, capfd, precision):
    model, source, batches = written
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    target = tmp_path / PRECISIONS[precision].file
    size_bytes = write_precision(precision, source, target, calibration=batches)
    assert "".join(capfd.readouterr()) == ""
    assert (root.level, list(root.handlers)) == before
    assert size_bytes == target.stat().st_size < SMALLER[precision] * source.stat().st_size
    domains = {node.domain for node in onnx.load(target).graph.node}
    assert (domains <= {"", "ai.onnx"}) == PRECISIONS[precision].standard
    assert read_axes(target) == read_axes(source)
    parity = compare_logits(model, open_session(target), batches)
    assert 0 < parity.max_abs_delta < 2
    assert parity.argmax_agreement > 0.75


def test_the_parts_of_a_graph_are_separated_and_can_stay_in_fp32(written, tmp_path: Path):
    model, source, batches = written
    parts = group_operators(source)
    assert {part: len(names) for part, names in parts.items()} == {
        "head": 1,
        "embeddings": 3,
        "ffn_out": 1,
        "attention": 4,
        "ffn_in": 1,
    }
    delta = {}
    every = [name for names in parts.values() for name in names]
    for name, excluded in {"none": [], "all": every}.items():
        write_precision("int8", source, tmp_path / f"{name}.onnx", excluded=excluded)
        delta[name] = compare_logits(model, open_session(tmp_path / f"{name}.onnx"), batches).max_abs_delta
    assert delta["all"] < 1e-4 < delta["none"]


@pytest.mark.parametrize("way", ["legacy", "dynamo"])
def test_decomposed_norms_compute_the_same(graphs, tmp_path: Path, way):
    model, folder = graphs
    target = tmp_path / "decomposed.onnx"
    assert decompose_layernorm(folder / f"{way}.onnx", target) == 3
    graph = onnx.load(target)
    assert "LayerNormalization" not in {node.op_type for node in graph.graph.node}
    onnx.checker.check_model(graph)
    batches = probe_batches(INPUTS[:2], vocabulary=600, pad_id=1, max_length=64)
    assert compare_logits(model, open_session(target), batches).max_abs_delta <= 1e-5


def test_a_transpose_is_stored_once_and_again_to_the_bit():
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Gather", ["rows", "ids"], ["x"]),
        onnx.helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    held = [
        onnx.numpy_helper.from_array(one, name) for one, name in ((rows, "rows"), (rows.T.copy(), "turned"))
    ]
    graph = onnx.helper.make_graph(nodes, "g", [value("ids", 7, ["n"])], [value("y", 1, ["n", 4])], held)
    assert share_transposed(graph) == 1
    assert [one.name for one in graph.initializer] == ["rows"]
    assert share_transposed(graph) == 0
    assert store_transposed(graph) == 1
    assert np.array_equal(onnx.numpy_helper.to_array(graph.initializer[1]), rows.T)


def test_a_tied_decoder_is_quantised_too(tiny, tmp_path: Path):
    model, _ = tiny("bert", "ForMaskedLM", hidden_size=64, vocab_size=600)
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    write_graph(model, source, WAYS["legacy"], head=HEADS["mlm"], inputs=INPUTS, max_length=64)
    write_precision("int8", source, target)
    wide = [one for one in onnx.load(target).graph.initializer if 600 in one.dims and 64 in one.dims]
    assert wide
    assert all(one.data_type != onnx.TensorProto.FLOAT for one in wide)


@pytest.mark.parametrize(
    ("isa", "weights"),
    [
        (["avx2", "avx512f", "avx512_vnni"], "int8"),
        (["avx2", "avx_vnni"], "int8"),
        (["avx2", "avx512f"], "uint8"),
        (["asimd", "asimddp"], "int8"),
        ([], "int8"),
        (None, "int8"),
    ],
)
def test_the_kind_of_weights_follows_the_processor(isa, weights):
    assert choose_weights(isa) == weights


def test_a_copy_that_cannot_be_written_is_refused(written, tmp_path: Path):
    _, source, _ = written
    with pytest.raises(UsageError, match=f"unknown precision 'int4'; there are: {', '.join(COPIES)}"):
        write_precision("int4", source, tmp_path / "x.onnx")
    with pytest.raises(HarnessError, match="quantize: expected text to calibrate static int8 with; got none"):
        write_precision("int8-static", source, tmp_path / "x.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    for precision, message in {
        "fp16": "fp16: expected a float16 copy",
        "q4": "q4: expected a 4-bit copy",
    }.items():
        with pytest.raises(HarnessError, match=message) as caught:
            write_precision(precision, bad, tmp_path / "x.onnx")
        assert "\n" not in str(caught.value)
