"""Columns of extreme activations, embeddings by rows, and GELU's order in exported graphs."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime
import pytest

from harness.export import quantize
from harness.export.embedding_rows import quantize_embeddings, quantize_rows
from harness.export.gelu_order import halve_gelu_last
from harness.export.graphs import WAYS, write_graph
from harness.export.outliers import MOST_COLUMNS, choose_columns, measure_columns, split_outliers
from harness.measure.onnx_evaluation import open_session
from harness.measure.parity import compare_logits, probe_batches
from harness.tasks import HEADS

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.mark.parametrize(
    ("extreme", "expected"),
    [
        ([], []),
        ([60.0], [0]),
        ([5.0, 60.0, 7.0], [1, 2, 0]),
        ([1.9], []),
        ([2.9], []),
        ([float(size) for size in range(20, 40)], []),
        ([*(float(size) for size in range(20, 30)), 80.0], [10, 9, 8, 7, 6, 5, 4, 3]),
    ],
    ids=["none", "one", "three", "below the ratio", "range not halved", "too many", "eight of many"],
)
def test_columns_are_chosen_where_the_range_is_halved(extreme, expected):
    maxima_C = np.array([*extreme, *np.linspace(0.5, 1.5, 100)], dtype=np.float32)
    assert choose_columns(maxima_C).tolist() == expected
    assert len(expected) <= MOST_COLUMNS


@pytest.fixture(scope="module", params=["legacy", "dynamo"])
def extreme(request, tiny, tmp_path_factory):
    """A model with a neuron and a hidden dimension of extreme values, and its ONNX file."""
    model, _ = tiny(
        "bert",
        HEADS["pos"].suffix,
        hidden_size=64,
        intermediate_size=128,
        vocab_size=600,
        num_hidden_layers=2,
    )
    for place, parameter in enumerate(model.parameters()):
        parameter.data += 0.001 * place  # the exporter stores equal vectors once, behind an Identity
    first, second = model.bert.encoder.layer
    first.intermediate.dense.bias.data[3] = 60
    first.output.LayerNorm.weight.data[5] = 12
    second.attention.output.LayerNorm.bias.data[7] = 40
    path = tmp_path_factory.mktemp("extreme") / "model.onnx"
    write_graph(model, path, WAYS[request.param], head=HEADS["pos"], inputs=INPUTS, max_length=64)
    return model, path, probe_batches(INPUTS, vocabulary=600, pad_id=0, max_length=64)


def test_split_products_give_equal_outputs(extreme, tmp_path):
    model, path, batches = extreme
    changed = onnx.load(path)
    products = split_outliers(changed)
    assert len(products) >= 5, "query, key and value of the second layer, and a map of each FFN"
    assert {*products} <= {node.name for node in changed.graph.node}
    names = [node.name for node in changed.graph.node]
    assert len(names) == len({*names})
    assert {node.name for node in onnx.load(path).graph.node} <= {*names}
    onnx.save(changed, tmp_path / "split.onnx")
    onnx.checker.check_model(changed, full_check=True)
    assert compare_logits(model, open_session(tmp_path / "split.onnx"), batches).max_abs_delta < 1e-3
    kept = [node.input[0] for node in changed.graph.node if node.input and node.input[0].endswith("/kept")]
    assert all(maxima_C.max() < 20 for maxima_C in measure_columns(changed, kept).values())


def test_excluded_products_stay_whole(extreme):
    _, path, _ = extreme
    model = onnx.load(path)
    products = [node.name for node in model.graph.node if node.op_type == "MatMul"]
    before = model.SerializeToString(deterministic=True)
    assert split_outliers(model, products) == []
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_int8_is_closer_with_columns_apart(extreme, weights, tmp_path, monkeypatch):
    model, path, batches = extreme
    quantize.quantize_dynamically(path, tmp_path / "apart.onnx", weights=weights)
    monkeypatch.setattr(quantize, "split_outliers", lambda *_: [])
    quantize.quantize_dynamically(path, tmp_path / "whole.onnx", weights=weights)
    apart, whole = (
        compare_logits(model, open_session(tmp_path / f"{name}.onnx"), batches) for name in ("apart", "whole")
    )
    assert apart.max_abs_delta < whole.max_abs_delta / 2
    assert apart.argmax_agreement >= whole.argmax_agreement
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("apart", "whole")]
    assert sizes[0] < 1.2 * sizes[1]


def test_bias_stays_next_to_its_product(extreme):
    """The runtime fuses a product with its bias; a sum between the two would prevent that."""
    _, path, _ = extreme
    changed = onnx.load(path)
    products = split_outliers(changed)
    readers = {node.input[place]: node for node in changed.graph.node for place in range(len(node.input))}
    vectors = {tensor.name for tensor in changed.graph.initializer if len(tensor.dims) == 1}
    split = [node for node in changed.graph.node if node.op_type == "MatMul" and "/kept" in node.input[0]]
    assert len(split) == len(products)
    assert [node.name for node in split if not vectors & {*readers[node.output[0]].input}] == []


def test_rows_of_embeddings_have_their_own_scales():
    rng = np.random.default_rng(0)
    table_VD = rng.normal(size=(50, 16)).astype(np.float32) * 10.0 ** rng.integers(-4, 4, (50, 1))
    table_VD[7] = 0
    rows_VD, scales_V1 = quantize_rows(table_VD.astype(np.float32))
    assert rows_VD.dtype == np.int8
    assert np.abs(rows_VD).max() == 127
    assert np.all(np.abs(rows_VD * scales_V1 - table_VD) <= 0.501 * scales_V1)
    assert not rows_VD[7].any()


def test_embeddings_are_stored_once_in_int8(extreme, tmp_path):
    model, path, batches = extreme
    changed = onnx.load(path)
    lookups = [node.name for node in changed.graph.node if node.op_type == "Gather"]
    assert quantize_embeddings(changed.graph) >= 2
    assert not any(tensor.dims[:1] == [600] and tensor.data_type == 1 for tensor in changed.graph.initializer
                   if tensor.dims[1:] != [1])  # fmt: skip
    onnx.save(changed, tmp_path / "rows.onnx")
    onnx.checker.check_model(changed, full_check=True)
    assert 0 < compare_logits(model, open_session(tmp_path / "rows.onnx"), batches).max_abs_delta < 0.5
    left = onnx.load(path)
    assert quantize_embeddings(left.graph, lookups) == 0


def test_gelu_is_one_operator_for_the_runtime(extreme, tmp_path):
    _, path, _ = extreme
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert "Erf" not in kinds
    assert sum(kind.endswith("Gelu") for kind in kinds) == 2
    assert halve_gelu_last(onnx.load(path).graph) == 0, "done when the graph was written"


def test_int8_of_a_real_teacher_has_its_labels(tmp_path):
    """The published encoder with a random head: int8 and fp32 give the same label to nearly every token."""
    if not (folder := os.environ.get("HARNESS_REAL_TEACHER")):
        pytest.skip("set HARNESS_REAL_TEACHER to the folder of multilingual-e5-small")
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    model = transformers.AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=17, dtype=torch.float32
    )
    write_graph(
        model, tmp_path / "model.onnx", WAYS["legacy"], head=HEADS["pos"], inputs=INPUTS, max_length=64
    )
    quantize.quantize_dynamically(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    batches = probe_batches(INPUTS, vocabulary=model.config.vocab_size, pad_id=1, max_length=64)
    parity = compare_logits(model, open_session(tmp_path / "int8.onnx"), batches)
    assert parity.argmax_agreement > 0.95
