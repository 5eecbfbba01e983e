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
class FileQuality:
    """What a file is, apart from its speed.

    Attributes:
        parity: its distance from torch.
        tested: its scores on the test part; None where nothing was scored.
        size_bytes: of the file.
        compressed_bytes: of the file after gzip.
    """

    parity: Parity
    tested: FileScores | None
    size_bytes: int
    compressed_bytes: int


def check_files(
    paths: Mapping[str, Path], checker: OnnxChecker, gate: QualityGate | None
) -> dict[str, FileQuality]:
    """Compare the file of each precision with torch, score it where there is a gate, and measure its size."""
    return {
        precision: FileQuality(
            checker.measure_parity(path),
            gate.score_file(path) if gate else None,
            path.stat().st_size,
            len(gzip.compress(path.read_bytes(), _FAST_GZIP)),
        )
        for precision, path in paths.items()
    }


def time_against_fp32(
    paths: Mapping[str, Path], checker: OnnxChecker, *, seconds: float
) -> dict[str, Timing]:
    """Time the file of each precision, interleaved, for ``seconds`` a file; compare it with the fp32 file."""
    row = dict.fromkeys(paths, checker.timed_row)
    samples = time_files(paths, row, threads=checker.threads, budget_s=seconds * len(paths))
    return compare_with_base(samples, FP32)


def describe_file(
    precision: str, quality: FileQuality, timing: Timing, copy: PrecisionCopy | None, file: str
) -> FileRecord:
    """Return the record of one file.

    Args:
        precision: a row of ``harness.precisions``.
        quality: of the file.
        timing: its latency compared with fp32.
        copy: how it was made; None for the fp32 file.
        file: its name in the export, relative to the export's folder.
    """
    row = PRECISIONS[precision]
    return FileRecord(
        precision=precision,
        what=row.what,
        standard_operators=row.standard,
        max_abs_delta=quality.parity.max_abs_delta,
        argmax_agreement=quality.parity.argmax_agreement,
        scores=quality.tested.scores if quality.tested else None,
        label_agreement=quality.tested.label_agreement if quality.tested else None,
        form=copy.form if copy else AS_EXPORTED,
        form_reason=copy.form_reason if copy else "the only form",
        file=file,
        size_bytes=quality.size_bytes,
        compressed_bytes=quality.compressed_bytes,
        **timing.record(50, 90, 99),
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
