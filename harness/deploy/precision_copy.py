"""Write a copy of an fp32 file in another precision: the faster form, checked by the quality gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deploy.quality_gate import GateResult, QualityGate
from harness.export.decomposed_layernorm import decompose_layernorm
from harness.export.precisions import Calibration, write_precision
from harness.measure.latency import Choice
from harness.measure.onnx_evaluation import OnnxChecker
from harness.precisions import COPIES, find_precision

AS_EXPORTED, DECOMPOSED = "as exported", "norms spelled out"
"""The two forms of a graph, by their names in records."""


@dataclass(frozen=True)
class PrecisionCopy:
    """A file in another precision.

    Attributes:
        path: the file.
        form: how its layer norms are written.
        form_reason: why this form was kept.
        gate_result: the gate's verdict; None where nothing was scored.
    """

    path: Path
    form: str
    form_reason: str
    gate_result: GateResult | None


def write_copy(
    precision: str,
    fp32: Path,
    *,
    checker: OnnxChecker | None = None,
    gate: QualityGate | None = None,
    calibration: Calibration = (),
) -> PrecisionCopy:
    """Write a copy in the folder of its fp32 file.

    Args:
        precision: a row of ``harness.precisions``.
        fp32: the exported file.
        checker: times the two forms of 8-bit files; None leaves the graph as it is exported.
        gate: scores the copy; None scores nothing.
        calibration: encoded text for static int8.

    Raises:
        HarnessError: onnxruntime could not write it.
    """
    row = find_precision(precision, COPIES)
    target, decomposed = fp32.with_name(row.file), fp32.with_name(".decomposed.onnx")
    try:
        origin, choice = fp32, Choice(AS_EXPORTED, "the only form", {})
        if row.two_forms and checker is not None and decompose_layernorm(fp32, decomposed):
            origins = {AS_EXPORTED: fp32, DECOMPOSED: decomposed}
            choice = _choose_form(precision, origins, checker)
            origin = origins[choice.name]

        def write(excluded: Sequence[str] = ()) -> Path:
            write_precision(precision, origin, target, calibration=calibration, excluded=excluded)
            return target

        result = gate.quantize_until_passing(write) if gate else None
        if result is None:
            write()
        return PrecisionCopy(target, choice.name, choice.reason, result)
    finally:
        decomposed.unlink(missing_ok=True)


def _choose_form(precision: str, origins: Mapping[str, Path], checker: OnnxChecker) -> Choice:
    """Write the copy from each form of the fp32 file, and choose the fastest."""
    paths = {form: path.with_name(f".{place}.onnx") for place, (form, path) in enumerate(origins.items())}
    try:
        for form, path in paths.items():
            write_precision(precision, origins[form], path)
        return checker.choose_fastest(paths)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
