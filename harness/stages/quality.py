"""Compare the final student's ONNX files of one task with torch, and score each on the test part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deploy.file_records import FileQuality, check_files
from harness.deploy.fp32_file import build_checker
from harness.deploy.quality_gate import GateResult, QualityGate, fit_labels
from harness.export.source import load_source
from harness.pipeline import manifest as manifests
from harness.precisions import FP32
from harness.stages.io.artifacts import list_export_files, read_task
from harness.stages.io.export_facts import (
    CopyFacts,
    FileQualityFacts,
    GateResultFacts,
    PrecisionsFacts,
    QualityFacts,
)
from harness.stages.table import read_facts
from harness.tasks import TASKS

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> QualityFacts:
    """Check the file of each precision; nothing is timed, so that other stages may run meanwhile."""
    config, task = context.config, context.config["task"]
    source = load_source(context.inputs["model"] / "model", task)
    length = min(config["max_length"], source.max_tokens)
    checker = build_checker(source, length=length, seconds=0, seed=config["seed"])
    paths = list_export_files(context, task)
    gate = None
    if task in TASKS:
        data = fit_labels(read_task(context, task), source.model.config)
        gate = QualityGate(paths[FP32], data, source.tokenizer, max_length=length)
    verdicts = _read_verdicts(context, task)
    if gate is not None:
        for name in paths.keys() - verdicts.keys() - {FP32}:
            verdicts[name] = _check_copy(gate, paths[name])
    checked = check_files(paths, checker, gate)
    return QualityFacts(files=[_state(name, checked[name], verdicts.get(name)) for name in paths])


def _read_verdicts(context: Context, task: str) -> dict[str, GateResultFacts]:
    """Return the gate's results for the copies that the stage ``precisions`` wrote, by precision."""
    if "precisions" not in context.inputs:
        return {}
    facts = read_facts(manifests.read(context.inputs["precisions"]), PrecisionsFacts)
    return {copy.precision: _read_result(copy) for copy in facts.copies if copy.task == task}


def _read_result(copy: CopyFacts) -> GateResultFacts:
    return GateResultFacts(verdict=copy.verdict, kept_parts=copy.kept_parts, tried=copy.tried)


def _check_copy(gate: QualityGate, path: Path) -> GateResultFacts:
    """Check a copy that the export wrote with the graph, whole: no part of it stays in fp32."""
    verdict = gate.check_copy(path)
    result = GateResult(verdict, (), (((), verdict.drop),))
    return GateResultFacts.model_validate(result.record())


def _state(precision: str, checked: FileQuality, verdict: GateResultFacts | None) -> FileQualityFacts:
    tested = checked.tested
    scores: Mapping[str, Mapping[str, float]] | None = tested.scores if tested else None
    return FileQualityFacts.model_validate(
        {
            "precision": precision,
            "max_abs_delta": checked.parity.max_abs_delta,
            "argmax_agreement": checked.parity.argmax_agreement,
            "num_positions": checked.parity.num_positions,
            "scores": scores,
            "label_agreement": tested.label_agreement if tested else None,
            "size_bytes": checked.size_bytes,
            "compressed_bytes": checked.compressed_bytes,
            "gate": verdict,
        }
    )
