"""Write what makes a folder of ONNX files an export: record, model card, and the program that predicts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.examples import TaskData
from harness.export import predict
from harness.export.javascript import list_javascript_differences
from harness.export.record import RECORD, ExportRecord, FileRecord
from harness.export.source import ExportSource
from harness.json_files import write_json
from harness.measure.environment import describe
from harness.measure.onnx_evaluation import OnnxChecker
from harness.models.loading.tokenizer_json import list_reading_notes, read_spec
from harness.precisions import FP32, PRECISIONS
from harness.report.model_card import render_model_card
from harness.tasks import HEADS, TASKS

CARD = "README.md"
PROGRAM = "predict.py"


@dataclass(frozen=True)
class ExportDescription:
    """What a record says of an export besides its measurements; the fields are those of `ExportRecord`.

    Attributes:
        scored: the task that scored the files; None where nothing was scored.
    """

    name: str
    layout: str
    language: str | None
    licence: str | None
    allowed_drop: float
    scored: TaskData | None
    data_source: str | None
    lineage: Mapping[str, Any]


def make_record(
    source: ExportSource,
    files: Sequence[FileRecord],
    described: ExportDescription,
    *,
    graph: Mapping[str, Any],
    checker: OnnxChecker,
) -> ExportRecord:
    """Return the record of an export whose files were measured.

    Args:
        source: the model that was exported.
        files: one for each precision.
        described: everything that was not measured.
        graph: of the fp32 file.
        checker: measured the files.
    """
    default, default_reason = choose_default(files)
    return ExportRecord(
        name=described.name,
        architecture=type(source.model).__name__,
        task=source.task,
        paired=source.task in TASKS and TASKS[source.task].paired,
        labels=list(source.labels),
        problem=source.problem,
        meaning=source.meaning,
        layout=described.layout,
        language=described.language,
        licence=described.licence,
        default=default,
        default_reason=default_reason,
        length=checker.length,
        threads=checker.threads,
        graph=graph,
        files=files,
        dtypes=[dtype for file in files if (dtype := PRECISIONS[file.precision].dtype)],
        allowed_drop=described.allowed_drop,
        num_dev=len(described.scored.dev) if described.scored else 0,
        num_test=len(described.scored.test) if described.scored else 0,
        data_source=described.data_source,
        lineage=described.lineage,
        environment=describe(),
        notes=[
            *list_reading_notes(source.tokenizer),
            *list_javascript_differences(read_spec(source.tokenizer)),
        ],
    )


def write_record(record: ExportRecord, folder: Path) -> None:
    """Write the record, the model card and, for a head with classes, the program that predicts."""
    write_json(folder / RECORD, record.as_dict())
    (folder / CARD).write_text(render_model_card(record.as_dict()), encoding="utf-8")
    if HEADS[record.task].labelled:
        shutil.copyfile(predict.__file__, folder / PROGRAM)


def choose_default(files: Sequence[FileRecord]) -> tuple[str, str]:
    """Return the precision to take: of those that passed and are not slower than fp32, the smallest."""
    passed = [file for file in files if file.gate == "passed" and file.speed_ratio["high"] >= 1]
    if passed:
        best = min(passed, key=lambda file: file.size_bytes)
        return best.precision, "the smallest that passed the gate and is not slower than fp32"
    if any(file.verdict for file in files):
        return FP32, "no smaller copy both passed the gate and kept pace with it"
    return FP32, "no smaller copy was scored, so that none may replace it"
