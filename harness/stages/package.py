"""Time the final student's ONNX files of one task, and write the record and the card of the export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deploy.export_record import ExportDescription, make_record, write_record
from harness.deploy.file_records import FileQuality, describe_file, time_against_fp32
from harness.deploy.fp32_file import build_checker
from harness.deploy.lineage import find_lineage
from harness.deploy.precision_copy import AS_EXPORTED, PrecisionCopy
from harness.deploy.quality_gate import FileScores, GateResult, fit_labels
from harness.export.record import FileRecord
from harness.export.source import load_source
from harness.measure.gate import ALLOWED_DROP, GateVerdict
from harness.measure.latency import Timing
from harness.measure.parity import Parity
from harness.pipeline import manifest as manifests
from harness.precisions import FP32
from harness.stages.io.artifacts import list_export_files, read_task
from harness.stages.io.export_facts import (
    ExportFacts,
    FileQualityFacts,
    GateResultFacts,
    PackageFacts,
    QualityFacts,
)
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
    paths = list_export_files(context, task)
    checked = read_facts(manifests.read(context.inputs["quality"]), QualityFacts)
    files = _describe(paths, checked, time_against_fp32(paths, checker, seconds=config["seconds"]))
    scored = fit_labels(read_task(context, task), source.model.config) if task in TASKS else None
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
        if scored is None
        else {one.precision: one.label_agreement for one in files if one.label_agreement is not None},
    )


def _describe(
    paths: Mapping[str, Path], checked: QualityFacts, timings: Mapping[str, Timing]
) -> list[FileRecord]:
    """Return the record of each file that the stage ``quality`` has checked."""
    return [
        describe_file(
            facts.precision,
            _read_quality(facts),
            timings[facts.precision],
            None
            if facts.precision == FP32
            else PrecisionCopy(
                paths[facts.precision], AS_EXPORTED, "the only form", _read_result(facts.gate)
            ),
            paths[facts.precision].name,
        )
        for facts in checked.files
    ]


def _read_quality(facts: FileQualityFacts) -> FileQuality:
    tested = None
    if facts.scores is not None and facts.label_agreement is not None:
        scores = {metric: score.model_dump() for metric, score in facts.scores.items()}
        tested = FileScores(scores, facts.label_agreement)
    parity = Parity(facts.max_abs_delta, facts.argmax_agreement, facts.num_positions)
    return FileQuality(parity, tested, facts.size_bytes, facts.compressed_bytes)


def _read_result(facts: GateResultFacts | None) -> GateResult | None:
    if facts is None:
        return None
    tried = tuple((tuple(kept), drop) for kept, drop in facts.tried)
    return GateResult(GateVerdict(**facts.verdict.model_dump()), tuple(facts.kept_parts), tried)
