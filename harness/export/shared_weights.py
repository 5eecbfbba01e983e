"""Store a tied vocabulary projection once: as the word embeddings, transposed when the graph is loaded.

The exporters write the transposed embeddings next to the embeddings. A ``Transpose`` of a stored tensor costs
nothing at run time, since runtimes fold it when they load the graph; it halves the file of a masked-language
model.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.export.graph_fields import read_float_matrices, replace_entries

_SUFFIX = "/turned"


def _digest(value: NDArray[Any]) -> tuple[tuple[int, ...], bytes]:
    return value.shape, hashlib.blake2b(np.ascontiguousarray(value).tobytes()).digest()


def share_transposed(graph: Any) -> int:
    """Replace stored matrices that are others' transposes by a ``Transpose``; return how many.

    Invariants: the graph's outputs stay equal to the bit. Only right factors of ``MatMul`` are replaced.
    """
    matrices = read_float_matrices(graph)
    factors = {node.input[1] for node in graph.node if node.op_type == "MatMul"} & matrices.keys()
    stored = {_digest(value): name for name, value in matrices.items() if name not in factors}
    sources = {name: stored[key] for name in sorted(factors) if (key := _digest(matrices[name].T)) in stored}
    transposes = [
        onnx.helper.make_node("Transpose", [source], [name], name=f"{name}{_SUFFIX}", perm=[1, 0])
        for name, source in sources.items()
    ]
    kept = [tensor for tensor in graph.initializer if tensor.name not in sources]
    nodes = [*transposes, *graph.node]
    replace_entries(graph.initializer, kept)
    replace_entries(graph.node, nodes)
    return len(sources)


def store_transposed(graph: Any) -> int:
    """Undo :func:`share_transposed`: store every transposed matrix again; return how many.

    Quantisation needs this, since it reads stored tensors alone.
    """
    matrices = read_float_matrices(graph)
    transposes = [
        node
        for node in graph.node
        if node.op_type == "Transpose"
        and node.input[0] in matrices
        and list(node.attribute[0].ints) == [1, 0]
    ]
    for node in transposes:
        value = np.ascontiguousarray(matrices[node.input[0]].T)
        graph.initializer.append(onnx.numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)
    return len(transposes)
