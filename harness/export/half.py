"""Half precision: weights and arithmetic of an ONNX file in float16, inputs and outputs as they were."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from harness.errors import HarnessError, first_line


def half(onnx_path: Path, out_path: Path, *, excluded: Sequence[str] = ()) -> int:
    """Writes a float16 copy of an ONNX file; gives its size in bytes.

    What holds: inputs and outputs keep names, shapes and types; numbers too large or too small for float16
    are cut to its range.

    Args:
        onnx_path: the file.
        out_path: where the copy goes; the file itself will do.
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
            f"fp16: wanted a float16 copy of '{onnx_path}'; got {first_line(error)}; keep the fp32 file"
        ) from error
    return out_path.stat().st_size
