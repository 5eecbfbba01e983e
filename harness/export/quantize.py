"""Int8 weights for an ONNX file, by onnxruntime's dynamic or static quantisation.

Matrix products and embeddings become int8, so the file shrinks to about a quarter. Activations are quantised
while the model runs (dynamic), or by the ranges of calibration text (static). Only standard operators come
out.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from harness.errors import HarnessError, first_line
from harness.export.embedding_rows import quantize_embeddings
from harness.export.outliers import split_outliers
from harness.export.shared_weights import share_transposed, store_transposed

OPERATORS = ("MatMul", "Gemm")
Weights = Literal["int8", "uint8"]
_TYPES: Mapping[str, Any] = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
_X86 = {"avx2", "avx512f"}


@dataclass(frozen=True)
class Quantized:
    """A quantised file.

    Attributes:
        path: the file.
        size_bytes: its size.
        prepared: how shapes were inferred first: ``symbolic``, ``onnx`` or ``none``, the first that worked.
        refusals: why each earlier way failed.
    """

    path: Path
    size_bytes: int
    prepared: str
    refusals: tuple[str, ...]


def choose_weights(isa: Sequence[str] | None) -> Weights:
    """Return the kind of int8 weights that suits a processor with these instructions.

    Signed weights, unless an x86 has no dot product of bytes: there the sum of two products of unsigned by
    signed bytes saturates at 16 bits, which unsigned weights avoid (ONNX Runtime, *Quantize ONNX models*).
    """
    known = set(isa or ())
    return "uint8" if known & _X86 and not known & _DOT_PRODUCTS else "int8"


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Drop onnxruntime's advice to prepare a model first: that was tried."""
    return "pre-processing" not in record.getMessage()


@contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    root.addFilter(_is_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_is_no_advice)


def _prepare(source: Path, target: Path, shapes: str, excluded: Sequence[str]) -> list[str]:
    """Write the file that onnxruntime quantises; return the names of the operators that it leaves in fp32."""
    model = onnx.load(source)
    store_transposed(model.graph)
    apart = split_outliers(model, excluded)
    quantize_embeddings(model.graph, excluded)
    onnx.save(model, target)
    if shapes != "none":
        quant_pre_process(
            str(target),
            str(target),
            skip_optimization=True,
            skip_symbolic_shape=shapes != "symbolic",
            skip_onnx_shape=shapes != "onnx",
            auto_merge=True,
        )
    return [*excluded, *apart]


def quantize_dynamically(
    onnx_path: Path, out_path: Path, *, weights: Weights = "int8", excluded: Sequence[str] = ()
) -> Quantized:
    """Write an int8 copy of an ONNX file: one scale a channel, the full range of the weights' type.

    Invariants: inputs and outputs keep their names and shapes; embeddings are int8 too, with a scale for each
    token; columns of extreme activations stay fp32 (``harness.export.outliers``); all operators are standard.

    Args:
        onnx_path: the fp32 file.
        out_path: where the copy goes.
        weights: signed or unsigned, see :func:`choose_weights`.
        excluded: names of operators that stay fp32.

    Raises:
        HarnessError: onnxruntime could not quantise the file; the message has its reason.
    """

    def write(prepared: Path, excluded: Sequence[str]) -> None:
        quantize_dynamic(
            str(prepared),
            str(out_path),
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            reduce_range=False,
            weight_type=_TYPES[weights],
            nodes_to_exclude=list(excluded),
        )

    return _quantize(onnx_path, out_path, excluded, write)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """The calibration batches, as onnxruntime reads them."""

    def __init__(self, batches: Sequence[Mapping[str, Any]]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else dict(batch)


def quantize_statically(
    onnx_path: Path,
    out_path: Path,
    batches: Sequence[Mapping[str, Any]],
    *,
    weights: Weights = "int8",
    excluded: Sequence[str] = (),
) -> Quantized:
    """Write an int8 copy whose activations have fixed ranges: the widest of the calibration batches.

    Invariants: as :func:`quantize_dynamically`; products of two activations (in attention) stay fp32.

    Args:
        onnx_path: the fp32 file.
        out_path: where the copy goes.
        batches: encoded text, with the graph's inputs.
        weights: signed or unsigned, see :func:`choose_weights`.
        excluded: names of operators that stay fp32.

    Raises:
        HarnessError: no batch, or onnxruntime could not quantise the file.
    """
    if not batches:
        raise HarnessError(
            "quantize: expected text to calibrate static int8 with; got none; pass some, or leave it out"
        )

    def write(prepared: Path, excluded: Sequence[str]) -> None:
        quantize_static(
            str(prepared),
            str(out_path),
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            reduce_range=False,
            activation_type=QuantType.QUInt8,
            weight_type=_TYPES[weights],
            nodes_to_exclude=list(excluded),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )

    return _quantize(onnx_path, out_path, excluded, write)


def _quantize(
    onnx_path: Path, out_path: Path, excluded: Sequence[str], write: Callable[[Path, Sequence[str]], None]
) -> Quantized:
    """Prepare a file in the first way that works, and quantise it."""
    if not onnx_path.is_file():
        raise HarnessError(
            f"quantize: expected an ONNX file at '{onnx_path}'; got none; export the model first"
        )
    refusals: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        for shapes in ("symbolic", "onnx", "none"):
            prepared = Path(scratch) / f"{shapes}.onnx"
            try:
                write(prepared, _prepare(onnx_path, prepared, shapes, excluded))
                _clean_graph(out_path)
            except Exception as error:
                refusals.append(f"{shapes}: {first_line(error)}")
                continue
            return Quantized(out_path, out_path.stat().st_size, shapes, tuple(refusals))
    raise HarnessError(
        f"quantize: expected an int8 copy of '{onnx_path}'; got {'; '.join(refusals)}; keep the fp32 file"
    )


def _clean_graph(path: Path) -> None:
    """Store once each matrix that is still there with its transpose, and drop the guessed shapes."""
    model = onnx.load(path)
    share_transposed(model.graph)
    del model.graph.value_info[:]
    onnx.save(model, path)
