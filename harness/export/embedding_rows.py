"""Store embeddings as int8 with a scale for each token, by standard operators.

onnxruntime's own quantisation has one scale for the whole table, which the largest of its rows decides.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.export.graph_fields import read_float_matrices, replace_entries

_LARGEST = 127


def quantize_embeddings(graph: Any, excluded: Collection[str] = ()) -> int:
    """Store in int8 the tables that ``Gather`` nodes read rows of; return how many nodes read such tables.

    Invariants: a row is off by half a step of its own scale at most.

    Args:
        graph: of an fp32 file, changed in place.
        excluded: names of nodes whose tables stay fp32.
    """
    tables = read_float_matrices(graph)
    lookups = [
        node
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in tables and node.name not in excluded
    ]
    outputs = {node.output[0] for node in lookups}
    nodes = [
        one for node in graph.node for one in (_look_up_int8(node) if node.output[0] in outputs else (node,))
    ]
    replace_entries(graph.node, nodes)
    for name in dict.fromkeys(node.input[0] for node in lookups):
        rows_VD, scales_V1 = quantize_rows(tables[name])
        graph.initializer.extend(
            (
                onnx.numpy_helper.from_array(rows_VD, f"{name}/int8"),
                onnx.numpy_helper.from_array(scales_V1, f"{name}/scales"),
            )
        )
    read = {name for node in graph.node for name in node.input}
    replace_entries(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    return len(lookups)


def quantize_rows(table_VD: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a V × D table in int8 and the V × 1 scales by which its rows are multiplied."""
    largest_V1 = np.abs(table_VD).max(axis=1, keepdims=True)
    scales_V1 = np.where(largest_V1 > 0, largest_V1 / _LARGEST, 1).astype(np.float32)
    return np.rint(table_VD / scales_V1).astype(np.int8), scales_V1


def _look_up_int8(node: Any) -> list[Any]:
    table, ids = node.input
    (output,) = node.output
    rows, floats, scales = (f"{output}/{part}" for part in ("int8", "float", "scales"))
    make = onnx.helper.make_node
    return [
        make("Gather", [f"{table}/int8", ids], [rows], name=node.name, axis=0),
        make("Cast", [rows], [floats], name=floats, to=onnx.TensorProto.FLOAT),
        make("Gather", [f"{table}/scales", ids], [scales], name=scales, axis=0),
        make("Mul", [floats, scales], [output], name=f"{output}/scaled"),
    ]
