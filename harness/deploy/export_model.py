"""Export one saved model to a folder of ONNX files: graph, precisions, quality gate, layout, model card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from harness.deploy.evaluation_text import EvaluationText, needs_text, read_evaluation_text
from harness.deploy.export_record import ExportDescription, make_record, write_record
from harness.deploy.file_records import check_files, describe_file, time_against_fp32
from harness.deploy.fp32_file import build_checker, write_fp32
from harness.deploy.lineage import find_lineage, name_model
from harness.deploy.output_folder import check_output_folder, replace_folder
from harness.deploy.precision_copy import write_copy
from harness.deploy.quality_gate import QualityGate, fit_labels
from harness.errors import HarnessError, unknown
from harness.export.graphs import WAYS
from harness.export.layouts import LAYOUTS, arrange
from harness.export.record import ExportRecord
from harness.export.source import ExportSource, load_source
from harness.measure.environment import describe
from harness.measure.gate import ALLOWED_DROP
from harness.models.loading.tokenizer_json import list_reading_notes
from harness.precisions import FP32


def export_model(
    model: Path,
    task: str,
    out: Path,
    *,
    graphs: Sequence[str],
    precisions: Sequence[str],
    layout: str = "plain",
    language: str | None = None,
    data: Path | None = None,
    strict_data: bool = False,
    allowed_drop: float = ALLOWED_DROP,
    length: int = 128,
    seconds: float = 3.0,
    threads: int = 1,
    licence: str | None = None,
    report_step: Callable[[str], None] = lambda _: None,
) -> ExportRecord:
    """Export a model; return the record that is also written to ``export.json``.

    Invariants: nothing in the folder is touched before all is made, and the record comes last; the fp32 file
    equals torch; only a copy that passed the gate may be the default instead of fp32.

    Args:
        model: folder of the saved model.
        task: the task of its head.
        out: the folder to make.
        graphs: candidates, the preferred first.
        precisions: in addition to fp32, which is always written.
        layout: a row of ``harness.export.layouts.LAYOUTS``.
        language: whose task the gate scores and whose text calibrates; None scores nothing.
        data: the data folder; None takes the built-in languages.
        strict_data: whether labelled data that has to be read otherwise than it is written is an error.
        allowed_drop: how much of its score a copy may lose, as a share.
        length: tokens of the longest probe, of the timed row, and of scored sentences.
        seconds: how long each file is timed; the graphs likewise.
        threads: of the timing.
        licence: of the model, for its card.
        report_step: called with a line before each step.

    Raises:
        UsageError: no such task, graph, precision, layout or language.
        HarnessError: the folder is in use, the model cannot be exported, data is missing or does not fit, or
            a precision cannot be written.
    """
    _check_names(layout, graphs)
    check_output_folder(out)
    text = _read_text(task, precisions, language, data, strict=strict_data)
    source = load_source(model, task)
    _check_scored(source, text)
    for note in list_reading_notes(source.tokenizer):
        report_step(f"warning: {note}")
    length = min(length, source.max_tokens)
    checker = build_checker(source, length=length, seconds=seconds, threads=threads)
    with replace_folder(out) as folder:
        report_step(f"trying {len(graphs)} graphs: {', '.join(graphs)}")
        exported = write_fp32(source, folder, checker, candidates=graphs)
        gate = None
        if text and text.scored:
            scored = fit_labels(text.scored, source.model.config)
            gate = QualityGate(
                exported.path,
                scored,
                source.tokenizer,
                max_length=length,
                allowed=allowed_drop,
                threads=threads,
            )
        calibration = text.encode_calibration(source, length) if text and needs_text(precisions) else ()
        copies = {}
        for name in precisions:
            report_step(f"writing {name}{' and scoring it' if gate else ''}")
            copies[name] = write_copy(
                name, exported.path, checker=checker, gate=gate, calibration=calibration
            )
        paths = {FP32: exported.path} | {name: copy.path for name, copy in copies.items()}
        report_step(f"checking and timing {len(paths)} files")
        timings = time_against_fp32(paths, checker, seconds=seconds)
        checked = check_files(paths, checker, gate)
        places = arrange(layout, folder, paths, cast("list[str] | None", describe()["isa"]))
        record = make_record(
            source,
            [
                describe_file(name, checked[name], timings[name], copies.get(name), places[name])
                for name in paths
            ],
            ExportDescription(
                name=f"{name_model(model)}-{task}",
                layout=layout,
                language=language,
                licence=licence,
                allowed_drop=allowed_drop,
                scored=text.scored if text else None,
                data_source=text.origin if text else None,
                lineage=find_lineage(model),
            ),
            graph=exported.record(),
            checker=checker,
        )
        write_record(record, folder)
    return record


def _check_names(layout: str, graphs: Sequence[str]) -> None:
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    if strange := [name for name in graphs if name not in WAYS]:
        raise unknown("graph", strange[0], WAYS)


def _read_text(
    task: str, precisions: Sequence[str], language: str | None, data: Path | None, *, strict: bool
) -> EvaluationText | None:
    if language is not None:
        return read_evaluation_text(task, language, data, strict=strict)
    if needs_text(precisions):
        raise HarnessError(
            "export: expected text to calibrate static int8 with; got none; add --lang (and --data)"
        )
    return None


def _check_scored(source: ExportSource, text: EvaluationText | None) -> None:
    """Refuse to score a head whose outputs are not one label for each item, as the tasks' data has it."""
    if text and text.scored and source.problem != "single_label_classification":
        raise HarnessError(
            f"export: expected a head with one label for each text, to score it on '{source.task}'; got "
            f"{source.problem}; leave --lang out"
        )
