"""A tied vocabulary projection is stored once: as the word embeddings, and turned when the graph is loaded.

The exporters write the transposed embeddings beside the embeddings. A ``Transpose`` of a stored tensor costs
nothing at run time, for runtimes fold it when they load the graph; on disk it halves a masked-language model.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_SUFFIX = "/turned"


def _digest(value: NDArray[Any]) -> tuple[tuple[int, ...], bytes]:
    return value.shape, hashlib.blake2b(np.ascontiguousarray(value).tobytes()).digest()


def _matrices(graph: Any) -> dict[str, NDArray[Any]]:
    return {
        one.name: onnx.numpy_helper.to_array(one)
        for one in graph.initializer
        if len(one.dims) == 2 and one.data_type == onnx.TensorProto.FLOAT
    }


def share_transposed(graph: Any) -> int:
    """Replaces stored matrices that are others' transposes by a ``Transpose``; gives how many.

    What holds: the graph computes what it did, to the bit. Only right factors of ``MatMul`` are replaced.
    """
    matrices = _matrices(graph)
    factors = {node.input[1] for node in graph.node if node.op_type == "MatMul"} & matrices.keys()
    stored = {_digest(value): name for name, value in matrices.items() if name not in factors}
    twins = {name: stored[key] for name in sorted(factors) if (key := _digest(matrices[name].T)) in stored}
    turned = [
        onnx.helper.make_node("Transpose", [source], [name], name=f"{name}{_SUFFIX}", perm=[1, 0])
        for name, source in twins.items()
    ]
    kept = [one for one in graph.initializer if one.name not in twins]
    nodes = [*turned, *graph.node]
    _replace(graph.initializer, kept)
    _replace(graph.node, nodes)
    return len(twins)


def store_transposed(graph: Any) -> int:
    """Undoes :func:`share_transposed`: stores every transposed matrix again; gives how many.

    Quantisation wants it so: it reads stored tensors alone.
    """
    matrices = _matrices(graph)
    turned = [
        node
        for node in graph.node
        if node.op_type == "Transpose"
        and node.input[0] in matrices
        and list(node.attribute[0].ints) == [1, 0]
    ]
    for node in turned:
        value = np.ascontiguousarray(matrices[node.input[0]].T)
        graph.initializer.append(onnx.numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)
    return len(turned)


def _replace(field: Any, values: list[Any]) -> None:
    copies = [type(one).FromString(one.SerializeToString()) for one in values]
    del field[:]
    field.extend(copies)
