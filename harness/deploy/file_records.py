"""Measure every file of an export: distance from torch, latency, scores and size."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.deploy.precision_copy import AS_EXPORTED, PrecisionCopy
from harness.deploy.quality_gate import FileScores, QualityGate
from harness.export.record import FileRecord
from harness.measure.latency import Timing, compare_with_base
from harness.measure.onnx_evaluation import OnnxChecker, time_files
from harness.measure.parity import Parity
from harness.precisions import FP32, PRECISIONS

_FAST_GZIP = 6


@dataclass(frozen=True)
class FileMeasurement:
    """What was measured of one file.

    Attributes:
        parity: its distance from torch.
        timing: its latency compared with fp32.
        tested: its scores on the test part; None where nothing was scored.
    """

    parity: Parity
    timing: Timing
    tested: FileScores | None


def measure_files(
    paths: Mapping[str, Path], checker: OnnxChecker, gate: QualityGate | None, *, seconds: float
) -> dict[str, FileMeasurement]:
    """Compare, time and score the file of each precision; the timing takes ``seconds`` a file."""
    row = dict.fromkeys(paths, checker.timed_row)
    samples = time_files(paths, row, threads=checker.threads, budget_s=seconds * len(paths))
    timings = compare_with_base(samples, FP32)
    return {
        precision: FileMeasurement(
            checker.measure_parity(path), timings[precision], gate.score_file(path) if gate else None
        )
        for precision, path in paths.items()
    }


def describe_file(
    precision: str, measurement: FileMeasurement, copy: PrecisionCopy | None, path: Path, file: str
) -> FileRecord:
    """Return the record of one file.

    Args:
        precision: a row of ``harness.precisions``.
        measurement: of the file.
        copy: how it was made; None for the fp32 file.
        path: of the file.
        file: its name in the export, relative to the export's folder.
    """
    row = PRECISIONS[precision]
    return FileRecord(
        precision=precision,
        what=row.what,
        standard_operators=row.standard,
        max_abs_delta=measurement.parity.max_abs_delta,
        argmax_agreement=measurement.parity.argmax_agreement,
        scores=measurement.tested.scores if measurement.tested else None,
        label_agreement=measurement.tested.label_agreement if measurement.tested else None,
        form=copy.form if copy else AS_EXPORTED,
        form_reason=copy.form_reason if copy else "the only form",
        file=file,
        size_bytes=path.stat().st_size,
        compressed_bytes=len(gzip.compress(path.read_bytes(), _FAST_GZIP)),
        **measurement.timing.record(50, 90, 99),
        **_describe_gate(copy),
    )


def _describe_gate(copy: PrecisionCopy | None) -> dict[str, Any]:
    """Return the gate's part of a file's record; the fp32 file is what copies are measured against."""
    result = copy.gate_result if copy else None
    if result is None:
        gate = "the measure" if copy is None else "not scored"
        return {"gate": gate, "verdict": None, "kept_parts": [], "tried": []}
    return {
        "gate": "passed" if result.verdict.passed else "FAILED",
        "verdict": result.verdict.record(),
        "kept_parts": list(result.kept_parts),
        "tried": [{"kept": list(kept), "drop": drop} for kept, drop in result.tried],
    }
