"""The precisions a model is exported in, as a table: what each writes, and how runtimes name its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import HarnessError, unknown
from harness.export.fourbit import four_bits
from harness.export.half import half
from harness.export.quantize import Weights, dynamic_int8, static_int8


@dataclass(frozen=True)
class Precision:
    """A row of the table.

    Attributes:
        suffix: of the file's name in transformers.js's layout.
        what: what it means, for tables and model cards.
        dtype: what transformers.js calls it; empty where it has no word for it.
        standard: whether only standard operators come out.
    """

    suffix: str
    what: str
    dtype: str
    standard: bool = True


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision("", "32-bit floats", "fp32"),
        "fp16": Precision("_fp16", "16-bit floats; inputs and outputs stay 32-bit", "fp16"),
        "int8": Precision(
            "_int8", "signed 8-bit weights, one scale a channel; activations as it runs", "int8"
        ),
        "uint8": Precision(
            "_uint8", "unsigned 8-bit weights, one scale a channel; activations as for int8", "uint8"
        ),
        "int8-static": Precision("_static", "signed 8-bit weights; activations by ranges seen on text", ""),
        "q4": Precision("_q4", "4-bit weights in blocks of 32, embeddings too", "q4", standard=False),
        "q4f16": Precision(
            "_q4f16", "4-bit weights in blocks of 32, the rest 16-bit floats", "q4f16", standard=False
        ),
    }
)


def file_name(precision: str) -> str:
    """Gives the name of a precision's file: ``model<suffix>.onnx``."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    return f"model{PRECISIONS[precision].suffix}.onnx"


def write_precision(
    precision: str,
    source: Path,
    target: Path,
    *,
    calibration: Sequence[Mapping[str, Any]] = (),
    excluded: Sequence[str] = (),
) -> int:
    """Writes a copy of an fp32 file in another precision; gives its size in bytes.

    Args:
        precision: a row of ``PRECISIONS`` other than fp32.
        source: the fp32 file.
        target: where the copy goes.
        calibration: encoded text, for static int8.
        excluded: names of operators that stay fp32.

    Raises:
        UsageError: no such precision.
        HarnessError: onnxruntime could not write it.
    """
    if precision not in PRECISIONS or precision == "fp32":
        raise unknown("precision", precision, [name for name in PRECISIONS if name != "fp32"])
    if precision == "fp16":
        half(source, target, excluded=excluded)
    elif precision == "int8-static":
        static_int8(source, target, calibration, excluded=excluded)
    elif precision in {"q4", "q4f16"}:
        four_bits(source, target, excluded=excluded)
        if precision == "q4f16":
            half(target, target, excluded=excluded)
    else:
        weights: Weights = "int8" if precision == "int8" else "uint8"
        dynamic_int8(source, target, weights=weights, excluded=excluded)
    if not target.is_file():
        raise HarnessError(f"{precision}: wanted a file at '{target}'; got none; keep the fp32 file")
    return target.stat().st_size
