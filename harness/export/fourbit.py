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
from harness.export.operators import weights_of
from harness.export.shared_weights import store_transposed

BLOCK = 32
_INT8_ACTIVATIONS = 4


def four_bits(onnx_path: Path, out_path: Path, *, excluded: Sequence[str] = ()) -> int:
    """Writes a copy whose matrices, embeddings among them, have 4-bit weights; gives its size in bytes.

    What holds: inputs and outputs keep names and shapes; activations may be taken as int8 by the runtime.

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
        weighted = weights_of(onnx_path)
        left = {node.name for node in model.graph.node if node.name not in weighted} | {*excluded}
        onnx.save(_quantized(model, left), out_path)
    except Exception as error:
        raise HarnessError(
            f"q4: wanted a 4-bit copy of '{onnx_path}'; got {first_line(error)}; keep the fp32 file"
        ) from error
    return out_path.stat().st_size


def _quantized(model: Any, left: set[str]) -> Any:
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
            nodes_to_exclude=sorted(left),
            op_types_to_quantize=("MatMul", "Gather"),
            quant_axes=(("MatMul", 0), ("Gather", 1)),
        )
        quantizer.process()
    return quantizer.model.model


@contextmanager
def _quiet() -> Iterator[None]:
    """Undoes what onnxruntime's module does to logging; lets it divide by the scale of a block of zeros."""
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
