"""The weighted operators of a graph by their part in an encoder, so that some parts can stay in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

PARTS = ("head", "embeddings", "ffn_out", "attention", "ffn_in")
"""In the order in which full precision is tried for them: the cheapest first."""

_EMBEDDING_RANK = 2


def read_weighted_operators(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return, by name of operator, its kind and the shape of its stored float matrix, in the graph's order.

    Only ``MatMul``, ``Gemm`` and ``Gather`` with a stored matrix of floats are returned.
    """
    graph = onnx.load(path, load_external_data=False).graph
    shapes = {
        tensor.name: tuple(tensor.dims)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == _EMBEDDING_RANK
    }
    shapes |= {
        node.output[0]: shapes[node.input[0]][::-1]
        for node in graph.node
        if node.op_type == "Transpose" and node.input[0] in shapes
    }
    place = {"MatMul": 1, "Gemm": 1, "Gather": 0}
    return {
        node.name: (node.op_type, _orient(node, shapes[node.input[place[node.op_type]]]))
        for node in graph.node
        if node.op_type in place and node.input[place[node.op_type]] in shapes
    }


def _orient(node: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape as (in, out), whichever way a ``Gemm`` stores it."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return shape[::-1] if transposed else shape


def group_operators(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the names of the weighted operators of each part; a part without any is left out.

    Shapes decide the part: an FFN widens and narrows again, attention keeps the width, the head comes after
    the last narrowing map.
    """
    weights = read_weighted_operators(path)
    products = [(name, shape) for name, (kind, shape) in weights.items() if kind != "Gather"]
    narrowing = [place for place, (_, shape) in enumerate(products) if _narrows(place, products)]
    last = narrowing[-1] if narrowing else len(products) - 1
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    parts["embeddings"] = [name for name, (kind, _) in weights.items() if kind == "Gather"]
    for place, (name, (rows, columns)) in enumerate(products):
        if place > last:
            parts["head"].append(name)
        elif place in narrowing:
            parts["ffn_out"].append(name)
        else:
            parts["ffn_in" if columns > rows else "attention"].append(name)
    return {part: tuple(names) for part, names in parts.items() if names}


def _narrows(place: int, products: list[tuple[str, tuple[int, ...]]]) -> bool:
    """Return whether a product reads the output of an FFN's first map (or its gated half)."""
    rows, columns = products[place][1]
    before = products[place - 1][1] if place else (0, 0)
    return rows > columns and before[1] >= rows and before[0] == columns
