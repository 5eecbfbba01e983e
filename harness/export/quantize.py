"""Int8 weights for an ONNX file, by onnxruntime's dynamic quantisation.

Matrix products and embeddings become int8, so that the file shrinks to about a quarter; activations are
quantised while the model runs. Only standard operators come out.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from harness.errors import HarnessError

INT8_FILE = "model_int8.onnx"
OPERATORS = ("MatMul", "Gemm", "Gather")


@dataclass(frozen=True)
class Quantized:
    """What quantisation gave.

    Attributes:
        path: the int8 file.
        size_bytes: its size.
        prepared: how shapes were inferred first: ``symbolic``, ``onnx`` or ``none``, the first that worked.
        refusals: why the ways before it did not.
    """

    path: Path
    size_bytes: int
    prepared: str
    refusals: tuple[str, ...]


def _no_advice(record: logging.LogRecord) -> bool:
    """Drops onnxruntime's advice to prepare a model first: that was tried."""
    return "pre-processing" not in record.getMessage()


@contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_no_advice)


def _prepare(source: Path, target: Path, shapes: str) -> None:
    if shapes == "none":
        onnx.save(onnx.load(source), target)
        return
    quant_pre_process(
        str(source),
        str(target),
        skip_optimization=True,
        skip_symbolic_shape=shapes != "symbolic",
        skip_onnx_shape=shapes != "onnx",
        auto_merge=True,
    )


def dynamic_int8(onnx_path: Path, out_path: Path) -> Quantized:
    """Writes an int8 copy of an ONNX file: weights signed, one scale a channel, the full range of int8.

    What holds: inputs and outputs keep their names and shapes; embeddings are int8 too; only standard
    operators come out.

    Raises:
        HarnessError: onnxruntime could not quantise the file; what it said is told.
    """
    if not onnx_path.is_file():
        raise HarnessError(
            f"quantize: wanted an ONNX file at '{onnx_path}'; got none; export the model first"
        )
    refusals: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        for shapes in ("symbolic", "onnx", "none"):
            prepared = Path(scratch) / f"{shapes}.onnx"
            try:
                _prepare(onnx_path, prepared, shapes)
                quantize_dynamic(
                    str(prepared),
                    str(out_path),
                    op_types_to_quantize=list(OPERATORS),
                    per_channel=True,
                    reduce_range=False,
                    weight_type=QuantType.QInt8,
                )
            except Exception as error:
                refusals.append(f"{shapes}: {(str(error).splitlines() or [type(error).__name__])[0]}")
                continue
            return Quantized(out_path, out_path.stat().st_size, shapes, tuple(refusals))
    raise HarnessError(
        f"quantize: wanted an int8 copy of '{onnx_path}'; got {'; '.join(refusals)}; keep the fp32 file"
    )
