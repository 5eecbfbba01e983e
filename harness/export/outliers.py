"""Keep columns of extreme activations out of int8 products.

In a trained encoder a few columns of the activations hold far larger values than all others, at a token or
two. An int8 product has one scale for all of its activations, so that such columns leave the others a few
of the 256 steps. Here such a product becomes a sum: of an int8 product in which those columns are zero, and
of an fp32 product of those columns alone.

Source: Dettmers et al. 2022, *LLM.int8()*, which chooses the columns while the model runs. Here they are
chosen once, on random tokens, which need no text.

Shapes: **C** columns of activations, which are rows of the matrix; **K** chosen columns.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from harness.export.graph_fields import read_float_matrices, replace_entries

MOST_COLUMNS = 8
_OUTLIER_RATIO = 3
_LEAST_GAIN = 2
_NUM_ROWS, _LENGTH, _SEED = 32, 16, 0


def split_outliers(model: Any, excluded: Collection[str] = ()) -> list[str]:
    """Split the ``MatMul`` nodes whose activations have extreme columns; return the names of the new ones.

    Invariants: the outputs of the graph differ by rounding alone; its nodes keep their names, and a bias
    stays next to its product.

    Args:
        model: an encoder in fp32, changed in place.
        excluded: names of nodes that are not split.
    """
    graph = model.graph
    matrices = read_float_matrices(graph)
    products = [
        node
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in matrices and node.name not in excluded
    ]
    maxima = measure_columns(model, {node.input[0] for node in products})
    chosen = {name: columns for name, maxima_C in maxima.items() if len(columns := choose_columns(maxima_C))}
    split = {node.output[0] for node in products if node.input[0] in chosen}
    ends = _find_ends(graph, split)

    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {}
    names, sums = [], {}
    for node in graph.node:
        if node.output[0] in split:
            source, matrix = node.input[:2]
            kept, extreme = f"{source}/kept", f"{source}/extreme"
            if f"{kept}/mask" not in constants:
                mask_C = np.ones(len(maxima[source]), dtype=np.float32)
                mask_C[chosen[source]] = 0
                constants |= {f"{kept}/mask": mask_C, f"{extreme}/columns": chosen[source]}
                nodes += [
                    onnx.helper.make_node("Mul", [source, f"{kept}/mask"], [kept], name=kept),
                    onnx.helper.make_node(
                        "Gather", [source, f"{extreme}/columns"], [extreme], name=extreme, axis=-1
                    ),
                ]
            product = f"{node.output[0]}/extreme"
            constants[f"{product}/rows"] = matrices[matrix][chosen[source]]
            nodes.append(
                onnx.helper.make_node("MatMul", [extreme, f"{product}/rows"], [product], name=product)
            )
            names.append(product)
            sums[ends[node.output[0]]] = product
            node.input[0] = kept
        nodes.append(node)
        if added := sums.get(node.output[0]):
            whole = node.output[0]
            node.output[0] = f"{whole}/kept"
            nodes.append(onnx.helper.make_node("Add", [node.output[0], added], [whole], name=f"{whole}/sum"))
    replace_entries(graph.node, nodes)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    return names


def _find_ends(graph: Any, outputs: Collection[str]) -> dict[str, str]:
    """Return for each product's output the output after its bias, which runtimes fuse with the product."""
    vectors = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 1}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    ends = {}
    for name in outputs:
        after = readers[name]
        biased = len(after) == 1 and after[0].op_type == "Add" and vectors.intersection(after[0].input)
        ends[name] = after[0].output[0] if biased else name
    return ends


def measure_columns(model: Any, names: Iterable[str]) -> Mapping[str, NDArray[np.float32]]:
    """Return, for some activations, the largest magnitude in each of their C columns on random tokens."""
    names, num_outputs = sorted(names), len(model.graph.output)
    if not names:
        return {}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    try:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            onnx.save(model, path)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        values = session.run(names, _make_inputs(model.graph))
    finally:
        del model.graph.output[num_outputs:]
    return {
        name: np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
        for name, value in zip(names, values, strict=True)
    }


def _make_inputs(graph: Any) -> dict[str, NDArray[np.int64]]:
    """Return rows of random tokens without padding, all of the first segment."""
    sizes = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    embeddings = {node.input[0] for node in graph.node if list(node.input[1:]) == ["input_ids"]}
    (num_tokens,) = (sizes[name] for name in embeddings & sizes.keys())
    shape = (_NUM_ROWS, _LENGTH)
    inputs = {
        "input_ids": np.random.default_rng(_SEED).integers(0, num_tokens, shape),
        "attention_mask": np.ones(shape, dtype=np.int64),
    }
    return {one.name: inputs.get(one.name, np.zeros(shape, dtype=np.int64)) for one in graph.input}


def choose_columns(maxima_C: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the K columns to keep apart, the largest first; none where the others' range is not halved.

    A column is extreme where its largest magnitude is more than three times that of the median column. At
    most eight are kept apart.
    """
    order_C = np.argsort(-maxima_C, kind="stable")
    num_extreme = int((maxima_C > _OUTLIER_RATIO * np.median(maxima_C)).sum())
    num_chosen = min(num_extreme, MOST_COLUMNS, len(order_C) - 1)
    largest, rest = maxima_C[order_C[[0, num_chosen]]]
    return order_C[: num_chosen if largest >= _LEAST_GAIN * rest else 0]
