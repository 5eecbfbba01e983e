"""Writes copies of an exported fp32 file in other precisions: the faster form, put before the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.sources import DataSource, open_corpus
from harness.deploy.quality_gate import Gate, Gated
from harness.errors import HarnessError
from harness.export.decomposed_layernorm import spell_out_norms
from harness.export.precisions import write_precision
from harness.measure.onnx_evaluation import Judge
from harness.precisions import COPIES, precision_named

AS_EXPORTED, SPELLED = "as exported", "norms spelled out"
CALIBRATION_LINES = 64
_CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class Copy:
    """A file in another precision.

    Attributes:
        path: the file.
        form: how its layer norms are written, and ``reason`` why; the faster of two was kept.
        reason: see there.
        gated: what the gate said; None where nothing was scored.
    """

    path: Path
    form: str
    reason: str
    gated: Gated | None


def write_copy(
    precision: str,
    source: Path,
    *,
    judge: Judge | None,
    gate: Gate | None,
    calibration: Sequence[Mapping[str, Any]] = (),
) -> Copy:
    """Writes a copy beside its fp32 file.

    Args:
        precision: a row of ``harness.precisions``.
        source: the fp32 file.
        judge: times the two forms of 8-bit files; None leaves the graph as it is exported.
        gate: scores the copy; None scores nothing.
        calibration: encoded text for static int8.

    Raises:
        HarnessError: onnxruntime could not write it.
    """
    row = precision_named(precision, COPIES)
    target = source.with_name(row.file)
    spelled = source.with_name(".spelled.onnx")
    try:
        form, reason = AS_EXPORTED, "the only form"
        if row.two_forms and judge is not None and spell_out_norms(source, spelled):
            form, reason = _faster(precision, {AS_EXPORTED: source, SPELLED: spelled}, judge)
        origin = spelled if form == SPELLED else source

        def write(excluded: Sequence[str]) -> Path:
            write_precision(precision, origin, target, calibration=calibration, excluded=excluded)
            return target

        if gate is None:
            write(())
        return Copy(target, form, reason, gate.pass_through(write) if gate else None)
    finally:
        spelled.unlink(missing_ok=True)


def _faster(precision: str, origins: Mapping[str, Path], judge: Judge) -> tuple[str, str]:
    made = {form: path.with_name(f".{place}.onnx") for place, (form, path) in enumerate(origins.items())}
    try:
        for form, path in made.items():
            write_precision(precision, origins[form], path)
        choice = judge.fastest(made)
    finally:
        for path in made.values():
            path.unlink(missing_ok=True)
    return choice.name, choice.reason


def calibration_of(
    source: DataSource, language: str, tokenizer: Any, *, length: int, inputs: Sequence[str]
) -> list[dict[str, Any]]:
    """Gives batches of a language's text to calibrate with.

    Raises:
        UsageError: no such language.
        HarnessError: the corpus holds no line of text.
    """
    corpus = open_corpus(source, language, lines=20 * CALIBRATION_LINES)
    lines: list[str] = []
    for document in corpus.documents:
        lines += document
        if len(lines) >= CALIBRATION_LINES:
            break
    return calibration_batches(lines, tokenizer, length=length, inputs=inputs)


def calibration_batches(
    lines: Sequence[str], tokenizer: Any, *, length: int, inputs: Sequence[str]
) -> list[dict[str, Any]]:
    """Gives the first lines as encoded batches.

    Raises:
        HarnessError: there is no line of text.
    """
    chosen = [line for line in lines if line.strip()][:CALIBRATION_LINES]
    if not chosen:
        raise HarnessError("calibration: wanted lines of text; got none; add some to the corpus")
    batches = [
        tokenizer(
            chosen[at : at + _CALIBRATION_BATCH],
            padding=True, truncation=True, max_length=length, return_tensors="np",
        )
        for at in range(0, len(chosen), _CALIBRATION_BATCH)
    ]  # fmt: skip
    return [{name: batch[name].astype("int64") for name in inputs} for batch in batches]
