"""Measure the final student's ONNX files of one task, and write the record and the card of the export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deploy.export_record import ExportDescription, make_record, write_record
from harness.deploy.file_records import describe_file, measure_files
from harness.deploy.fp32_file import build_checker
from harness.deploy.lineage import find_lineage
from harness.deploy.precision_copy import AS_EXPORTED, PrecisionCopy
from harness.deploy.quality_gate import GateResult, QualityGate, fit_labels
from harness.export.source import load_source
from harness.measure.gate import ALLOWED_DROP, GateVerdict
from harness.pipeline import manifest as manifests
from harness.precisions import COPIES, FP32, PRECISIONS
from harness.stages.io.artifacts import read_task
from harness.stages.io.export_facts import CopyFacts, ExportFacts, PackageFacts, PrecisionsFacts
from harness.stages.table import read_facts
from harness.tasks import TASKS

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> PackageFacts:
    """Write ``export.json``, ``README.md`` and, for a head with classes, ``predict.py``."""
    config, task = context.config, context.config["task"]
    model, exported = context.inputs["model"] / "model", context.inputs["exported"]
    source = load_source(model, task)
    length = min(config["max_length"], source.max_tokens)
    checker = build_checker(source, length=length, seconds=config["seconds"], seed=config["seed"])
    made = _read_copies(context, task)
    paths = {FP32: exported / "onnx" / PRECISIONS[FP32].file}
    for precision in COPIES:
        folder = context.inputs["precisions"] / task if precision in made else exported / "onnx"
        if (path := folder / PRECISIONS[precision].file).is_file():
            paths[precision] = path
    scored = fit_labels(read_task(context, task), source.model.config) if task in TASKS else None
    gate = QualityGate(paths[FP32], scored, source.tokenizer, max_length=length) if scored else None
    copies = {
        name: PrecisionCopy(path, AS_EXPORTED, "the only form", _read_gate(name, path, made, gate))
        for name, path in paths.items()
        if name != FP32
    }
    measured = measure_files(paths, checker, gate, seconds=config["seconds"])
    files = [
        describe_file(name, measured[name], copies.get(name), path, path.name) for name, path in paths.items()
    ]
    described = ExportDescription(
        name=config["name"],
        layout="plain",
        language=config["language"],
        licence=None,
        allowed_drop=ALLOWED_DROP,
        scored=scored,
        data_source=config["data"] if scored else None,
        lineage=find_lineage(model),
    )
    graph = read_facts(manifests.read(exported), ExportFacts).fp32.model_dump()
    record = make_record(source, files, described, graph=graph, checker=checker)
    write_record(record, context.out)
    return PackageFacts(
        default=record.default,
        default_reason=record.default_reason,
        label_agreement=None
        if gate is None
        else {one.precision: one.label_agreement for one in files if one.label_agreement is not None},
    )


def _read_copies(context: Context, task: str) -> dict[str, CopyFacts]:
    """Return the copies of one task that the stage ``precisions`` wrote, by precision."""
    if "precisions" not in context.inputs:
        return {}
    facts = read_facts(manifests.read(context.inputs["precisions"]), PrecisionsFacts)
    return {copy.precision: copy for copy in facts.copies if copy.task == task}


def _read_gate(
    precision: str, path: Path, made: Mapping[str, CopyFacts], gate: QualityGate | None
) -> GateResult | None:
    """Return the gate's verdict that an earlier stage recorded, or else check the copy now."""
    if (facts := made.get(precision)) is not None:
        tried = tuple((tuple(kept), drop) for kept, drop in facts.tried)
        return GateResult(GateVerdict(**facts.verdict.model_dump()), tuple(facts.kept_parts), tried)
    if gate is None:
        return None
    verdict = gate.check_copy(path)
    return GateResult(verdict, (), (((), verdict.drop),))
