"""Read and replace the nodes and stored tensors of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
from numpy.typing import NDArray


def read_float_matrices(graph: Any) -> dict[str, NDArray[Any]]:
    """Return the stored matrices of 32-bit floats by name."""
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT
    }


def replace_entries(field: Any, values: Iterable[Any]) -> None:
    """Replace all entries of a repeated field of a graph, some of which may be among the new ones."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)
