"""Half precision: weights and arithmetic of an ONNX file in float16, inputs and outputs unchanged."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from harness.errors import HarnessError, first_line


def convert_to_half(onnx_path: Path, out_path: Path, *, excluded: Sequence[str] = ()) -> int:
    """Write a float16 copy of an ONNX file; return its size in bytes.

    Invariants: inputs and outputs keep names, shapes and types; numbers too large or too small for float16
    are clipped to its range.

    Args:
        onnx_path: the file.
        out_path: where the copy goes; the file itself is allowed.
        excluded: names of operators that stay fp32.

    Raises:
        HarnessError: the file could not be converted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = convert_float_to_float16(
                onnx.load(onnx_path), keep_io_types=True, node_block_list=list(excluded) or None
            )
        onnx.save(model, out_path)
    except Exception as error:
        raise HarnessError(
            f"fp16: expected a float16 copy of '{onnx_path}'; got {first_line(error)}; keep the fp32 file"
        ) from error
    return out_path.stat().st_size
