"""The conversions of an fp32 file into each precision of ``harness.precisions``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from harness.errors import HarnessError
from harness.export.fourbit import convert_to_four_bits
from harness.export.half import convert_to_half
from harness.export.quantize import quantize_dynamically, quantize_statically
from harness.precisions import COPIES, find_precision

Calibration: TypeAlias = Sequence[Mapping[str, Any]]
"""Encoded text, a batch each."""

CONVERSIONS: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        "half": convert_to_half,
        "four-bit": convert_to_four_bits,
        "dynamic-int8": partial(quantize_dynamically, weights="int8"),
        "dynamic-uint8": partial(quantize_dynamically, weights="uint8"),
        "static-int8": quantize_statically,
    }
)
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
    row, origin = find_precision(precision, COPIES), source
    text = {"batches": calibration} if row.needs_text else {}
    for name in row.conversions:
        CONVERSIONS[name](origin, target, excluded=excluded, **text)
        origin = target
    if not target.is_file():
        raise HarnessError(f"{precision}: expected a file at '{target}'; got none; keep the fp32 file")
    return target.stat().st_size
