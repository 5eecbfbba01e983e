"""The conversions of an fp32 file into each precision of ``harness.precisions``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import HarnessError
from harness.export.fourbit import four_bits
from harness.export.half import half
from harness.export.quantize import dynamic_int8, static_int8
from harness.precisions import COPIES, precision_named

Calibration: TypeAlias = Sequence[Mapping[str, Any]]
"""Encoded text, a batch each."""
Conversion: TypeAlias = Callable[[Path, Path, Calibration, Sequence[str]], object]
"""Takes the source, the target, calibration batches and the names of operators that stay fp32."""


CONVERSIONS: Mapping[str, Conversion] = {
    "half": lambda source, target, _, excluded: half(source, target, excluded=excluded),
    "four-bit": lambda source, target, _, excluded: four_bits(source, target, excluded=excluded),
    "dynamic-int8": lambda source, target, _, excluded: dynamic_int8(
        source, target, weights="int8", excluded=excluded
    ),
    "dynamic-uint8": lambda source, target, _, excluded: dynamic_int8(
        source, target, weights="uint8", excluded=excluded
    ),
    "static-int8": lambda source, target, calibration, excluded: static_int8(
        source, target, calibration, excluded=excluded
    ),
}
"""The function of each conversion that a row of ``harness.precisions`` names."""


def write_precision(
    precision: str,
    source: Path,
    target: Path,
    *,
    calibration: Calibration = (),
    excluded: Sequence[str] = (),
) -> int:
    """Write a copy of an fp32 file in another precision; return its size in bytes.

    Args:
        precision: a row of ``harness.precisions`` other than fp32.
        source: the fp32 file.
        target: where the copy goes.
        calibration: encoded text, for static int8.
        excluded: names of operators that stay fp32.

    Raises:
        UsageError: no such precision.
        HarnessError: onnxruntime could not write it.
    """
    row, origin = precision_named(precision, COPIES), source
    for name in row.conversions:
        CONVERSIONS[name](origin, target, calibration, excluded)
        origin = target
    if not target.is_file():
        raise HarnessError(f"{precision}: wanted a file at '{target}'; got none; keep the fp32 file")
    return target.stat().st_size
