"""The size of an exported file, counted from a shape and a precision alone.

The file is that of a text task, whose head has a product of hidden × hidden that a word task's has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.config.shape import Shape

NUM_LABELS = 7
"""The classes of the head that is counted; each is a row of the hidden size."""


@dataclass(frozen=True)
class FileBytes:
    """The bytes of a precision's file.

    Attributes:
        matrix: of an element of a matrix in a layer.
        embedding: of an element of the embeddings.
        vector: of an element of a bias or norm.
        head: of an element of the head's product.
        column: of a matrix's column besides its elements: scale and zero point.
        row: of a row of the embeddings besides its elements: its scale.
        graph: of the nodes outside the layers, as the legacy exporter writes them.
        graph_layer: of the nodes of a layer.
    """

    matrix: float
    embedding: float
    vector: int
    head: float
    column: int = 0
    row: int = 0
    graph: int = 0
    graph_layer: int = 0


FILE_BYTES: Mapping[str, FileBytes] = MappingProxyType(
    {
        "fp32": FileBytes(4, 4, 4, 4, graph=16_300, graph_layer=16_400),
        "fp16": FileBytes(2, 2, 2, 2, graph=21_300, graph_layer=22_600),
        "int8": FileBytes(1, 1, 4, 1, column=5, row=4, graph=20_800, graph_layer=24_900),
        "uint8": FileBytes(1, 1, 4, 1, column=5, row=4, graph=20_800, graph_layer=25_900),
        "int8-static": FileBytes(1, 1, 4, 1, column=5, row=4, graph=23_500, graph_layer=35_100),
        "q4": FileBytes(0.625, 0.625, 4, 4, graph=19_500, graph_layer=18_500),
        "q4f16": FileBytes(0.5625, 0.5625, 2, 2, graph=23_000, graph_layer=22_900),
    }
)
"""By row of ``harness.precisions``. In four bits a block of 32 has a scale, and the head stays as it is."""


def count_file_bytes(shape: Shape, precision: str) -> int:
    """Return the bytes of a student's ONNX file for a text task, within 2 % of a real export.

    Args:
        shape: of the student.
        precision: a row of `FILE_BYTES`.
    """
    size, parts = FILE_BYTES[precision], shape.parameters()
    layers, hidden, ffn, width = shape.layers, shape.hidden, shape.ffn, shape.sizes["embedding"]
    maps = round(parts["ffn"] / (layers * hidden * ffn))  # 2, or 3 where the FFN is gated
    matrices = layers * (4 * hidden * hidden + maps * hidden * ffn)
    columns = layers * (5 * hidden + (maps - 1) * ffn)
    vectors = parts["attention"] + parts["ffn"] + parts["norms"] - matrices
    rows = parts["embeddings"] // width
    head = hidden * (hidden + NUM_LABELS)
    return round(
        size.matrix * matrices
        + size.embedding * parts["embeddings"]
        + size.vector * (vectors + hidden + NUM_LABELS)
        + (size.matrix if maps > 2 else size.head) * head  # without a bias it is a product like the others
        + size.column * (columns + hidden + NUM_LABELS)
        + size.row * rows
        + size.graph
        + size.graph_layer * layers
    )
