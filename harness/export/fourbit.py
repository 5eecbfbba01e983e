"""Four bits a weight: blocks of 32 weights share a scale (``MatMulNBits``, ``GatherBlockQuantized``).

These operators are onnxruntime's own, not the standard's: the files run on it and on onnxruntime-web alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.errors import HarnessError, first_line
from harness.export.operators import read_weighted_operators
from harness.export.shared_weights import store_transposed

BLOCK = 32
_INT8_ACTIVATIONS = 4


def convert_to_four_bits(onnx_path: Path, out_path: Path, *, excluded: Sequence[str] = ()) -> int:
    """Write a copy whose matrices, embeddings included, have 4-bit weights; return its size in bytes.

    Invariants: inputs and outputs keep names and shapes; the runtime may take activations as int8.

    Args:
        onnx_path: the fp32 file.
        out_path: where the copy goes.
        excluded: names of operators that stay fp32.

    Raises:
        HarnessError: onnxruntime could not quantise the file.
    """
    try:
        model = onnx.load(onnx_path)
        store_transposed(model.graph)
        weighted = read_weighted_operators(onnx_path)
        skipped = {node.name for node in model.graph.node if node.name not in weighted} | {*excluded}
        onnx.save(_quantize(model, skipped), out_path)
    except Exception as error:
        raise HarnessError(
            f"q4: expected a 4-bit copy of '{onnx_path}'; got {first_line(error)}; keep the fp32 file"
        ) from error
    return out_path.stat().st_size


def _quantize(model: Any, skipped: set[str]) -> Any:
    with _quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415  its import sets up logging
            MatMulNBitsQuantizer,
        )

        quantizer = MatMulNBitsQuantizer(
            model,
            bits=4,
            block_size=BLOCK,
            is_symmetric=True,
            accuracy_level=_INT8_ACTIVATIONS,
            nodes_to_exclude=sorted(skipped),
            op_types_to_quantize=("MatMul", "Gather"),
            quant_axes=(("MatMul", 0), ("Gather", 1)),
        )
        quantizer.process()
    return quantizer.model.model


@contextmanager
def _quiet() -> Iterator[None]:
    """Undo the changes of onnxruntime's module to logging; let it divide by the scale of a block of zeros."""
    root = logging.getLogger()
    level, handlers, before = root.level, list(root.handlers), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(before)
        root.setLevel(level)
        root.handlers[:] = handlers
