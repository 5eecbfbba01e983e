"""Takes one saved model to a folder of ONNX files: chosen graph, precisions, gate, layout, model card."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from harness.data.examples import Absent, TaskData
from harness.data.sources import open_task
from harness.deploy.lineage import lineage
from harness.deploy.precision_copies import AS_EXPORTED, Copy, calibration_of, write_copy
from harness.deploy.quality_gate import Gate, fit_labels
from harness.errors import HarnessError, unknown
from harness.export import onnx, predict
from harness.export.graphs import WAYS
from harness.export.layouts import LAYOUTS, arrange
from harness.export.record import MADE_BY, RECORD, is_export
from harness.export.source import Source, read_source
from harness.json_files import write_json
from harness.measure.environment import describe
from harness.measure.gate import ALLOWED_DROP
from harness.measure.latency import ratio
from harness.measure.onnx_evaluation import Judge, time_files
from harness.measure.parity import probe_batches
from harness.models.loading.encoder import count_token_types
from harness.precisions import FP32, PRECISIONS
from harness.report.model_card import render_model_card
from harness.tasks import HEADS, TASKS

PROGRAM = "predict.py"
BUILTIN_SIZES = (160, 500, 500)
"""Examples of train, dev and test drawn of a built-in language, which has no end."""
_FAST_GZIP = 6


@dataclass(frozen=True)
class Request:
    """What is to be exported, and how.

    Attributes:
        model: folder of the saved model.
        task: the task of its head.
        out: the folder to make.
        graphs: candidates, the preferred first.
        precisions: beside fp32, which is always written.
        layout: a row of ``harness.export.layouts.LAYOUTS``.
        language: whose task the gate scores and whose text calibrates; None scores nothing.
        data: the data folder; None takes the built-in languages.
        allowed_drop: what a copy may lose, as a share.
        length: tokens of the longest probe and of the timed row, and of scored sentences.
        seconds: how long the precisions are timed; the graphs likewise.
        threads: of the timing.
        licence: of the model, for its card.
    """

    model: Path
    task: str
    out: Path
    graphs: tuple[str, ...]
    precisions: tuple[str, ...]
    layout: str = "plain"
    language: str | None = None
    data: Path | None = None
    allowed_drop: float = ALLOWED_DROP
    length: int = 128
    seconds: float = 3.0
    threads: int = 1
    licence: str | None = None


def check_out(out: Path) -> None:
    """Refuses a folder that holds anything but an earlier export.

    Raises:
        HarnessError: it is a file, or a folder in use that ``harness export`` did not make.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())) or is_export(out):
        return
    got = "a folder in use that no export made" if out.is_dir() else "a file"
    raise HarnessError(
        f"--out {out}: wanted a new or empty folder, or an earlier export; got {got}; name another"
    )


def deploy(request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """Exports a model; gives the record that is written beside it as ``export.json``.

    What holds: nothing in the folder is touched before all is made, and the record comes last; the fp32 file
    says what torch says; only a copy that passed the gate is the default in the place of fp32.

    Args:
        request: what and how.
        say: told what is being done, a line a step.

    Raises:
        UsageError: no such task, graph, precision, layout or language.
        HarnessError: the folder is in use, the model cannot be exported, data is missing or does not fit, or
            a precision cannot be written.
    """
    if request.layout not in LAYOUTS:
        raise unknown("layout", request.layout, LAYOUTS)
    if strange := [name for name in request.graphs if name not in WAYS]:
        raise unknown("graph", strange[0], WAYS)
    check_out(request.out)
    data = read_data(request)
    source = read_source(request.model, request.task)
    batches = _probes(request, source)
    judge = Judge(source.model, batches, threads=request.threads, budget_s=request.seconds)
    out = request.out.resolve()
    half_made = out.with_name(f".{out.name}.part")
    shutil.rmtree(half_made, ignore_errors=True)
    half_made.parent.mkdir(parents=True, exist_ok=True)
    try:
        record = _write(request, half_made, judge=judge, source=source, data=data, say=say)
        _put(half_made, out)
    finally:
        shutil.rmtree(half_made, ignore_errors=True)
    return record


def _put(made: Path, out: Path) -> None:
    """Moves what was made into its folder, which is emptied and stays: it may be where the user stands."""
    out.mkdir(exist_ok=True)
    for path in out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(made.iterdir(), key=lambda one: one.name == RECORD):
        path.replace(out / path.name)


def read_data(request: Request) -> TaskData | None:
    """Reads the task that the gate scores; None where none was asked for, or the head has no score.

    Raises:
        UsageError: no such language.
        HarnessError: the source has no such task in that language; static int8 without a language.
    """
    if request.language is None:
        if any(PRECISIONS[name].needs_text for name in request.precisions):
            raise HarnessError(
                "export: wanted text to calibrate static int8 with; got none; add --language (and --data)"
            )
        return None
    if request.task not in TASKS:
        return None
    sizes = (None, None, None) if request.data else BUILTIN_SIZES
    found = open_task(request.data or "builtin", request.task, request.language, sizes)
    if isinstance(found, Absent):
        raise HarnessError(
            f"export: wanted the task '{request.task}' in '{request.language}' to score copies on; got none, "
            f"since {found.reason}; leave --language out"
        )
    return found


def _probes(request: Request, source: Source) -> list[dict[str, Any]]:
    model, tokenizer = source
    return probe_batches(
        onnx.inputs_of(model, tokenizer),
        vocabulary=model.config.vocab_size,
        pad_id=model.config.pad_token_id or 0,
        max_length=min(request.length, onnx.longest_input(model)),
        types=count_token_types(model),
    )


def _write(
    request: Request,
    folder: Path,
    *,
    judge: Judge,
    source: Source,
    data: TaskData | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    fitted = fit_labels(data, source.model.config) if data else None
    say(f"trying {len(request.graphs)} graphs: {', '.join(request.graphs)}")
    exported = onnx.export(*source, folder, task=request.task, judge=judge, candidates=request.graphs)
    gate = _gate(request, exported.path, fitted, source)
    calibration = _calibration(request, exported, source)
    copies = {}
    for name in request.precisions:
        say(f"writing {name}{' and scoring it' if gate else ''}")
        copies[name] = write_copy(name, exported.path, judge=judge, gate=gate, calibration=calibration)
    paths = {FP32: exported.path} | {name: copy.path for name, copy in copies.items()}
    say(f"checking and timing {len(paths)} files")
    rows = _rows(paths, copies, judge, gate, request)
    environment = describe()
    places = arrange(request.layout, folder, paths, cast("list[str] | None", environment["isa"]))
    _settle(rows, places, folder)
    default, reason = choose_default(rows)
    record = {
        "made_by": MADE_BY,
        "name": f"{request.model.resolve().name}-{request.task}",
        "architecture": type(source.model).__name__,
        "task": request.task,
        "paired": request.task in TASKS and TASKS[request.task].paired,
        "labels": list(source.model.config.id2label.values()) if HEADS[request.task].labelled else [],
        "layout": request.layout,
        "language": request.language,
        "licence": request.licence,
        "default": default,
        "default_reason": reason,
        "length": max(batch["input_ids"].shape[1] for batch in judge.batches),
        "threads": request.threads,
        "graph": exported.record(),
        "files": rows,
        "dtypes": [PRECISIONS[name].dtype for name in paths if PRECISIONS[name].dtype],
        "allowed_drop": request.allowed_drop,
        "num_dev": len(fitted.dev) if fitted else 0,
        "num_test": len(fitted.test) if fitted else 0,
        "data_source": None if not fitted else "a data folder" if request.data else "the built-in language",
        "lineage": lineage(request.model),
        "environment": environment,
    }
    write_json(folder / RECORD, record)
    (folder / "README.md").write_text(render_model_card(record), encoding="utf-8")
    if HEADS[request.task].labelled:
        shutil.copyfile(predict.__file__, folder / PROGRAM)
    return record


def _gate(request: Request, path: Path, data: TaskData | None, source: Source) -> Gate | None:
    if data is None:
        return None
    length = min(request.length, onnx.longest_input(source.model))
    return Gate(
        path,
        data,
        source.tokenizer,
        max_length=length,
        allowed=request.allowed_drop,
        threads=request.threads,
    )


def _calibration(request: Request, exported: onnx.Exported, source: Source) -> list[dict[str, Any]]:
    if request.language is None or not any(PRECISIONS[name].needs_text for name in request.precisions):
        return []
    return calibration_of(
        request.data or "builtin",
        request.language,
        source.tokenizer,
        length=min(request.length, onnx.longest_input(source.model)),
        inputs=exported.inputs,
    )


def _rows(
    paths: Mapping[str, Path], copies: Mapping[str, Copy], judge: Judge, gate: Gate | None, request: Request
) -> list[dict[str, Any]]:
    longest = max(judge.batches, key=lambda batch: batch["input_ids"].shape[1])
    row = {name: value[:1] for name, value in longest.items()}
    samples = time_files(
        paths, dict.fromkeys(paths, row), threads=request.threads, budget_s=request.seconds * len(paths)
    )
    found = []
    for precision, path in paths.items():
        parity, taken = judge.parity(path), samples[precision]
        speed = ratio(samples[FP32], taken)
        found.append(
            {
                "precision": precision,
                "what": PRECISIONS[precision].what,
                "standard_operators": PRECISIONS[precision].standard,
                "max_abs_delta": parity.max_abs_delta,
                "argmax_agreement": parity.argmax_agreement,
                **{f"p{one}_ms": taken.percentile_ms(one) for one in (50, 90, 99)},
                "speed_ratio": {"value": speed.value, "low": speed.low, "high": speed.high},
                "scores": gate.scores(path) if gate else None,
                **_judged(copies.get(precision)),
            }
        )
    return found


def _judged(copy: Copy | None) -> dict[str, Any]:
    """Gives what the gate said, and the form; of the fp32 file, that it is the measure."""
    gated = copy.gated if copy else None
    told = "the measure" if copy is None else "not scored"
    if gated:
        told = "passed" if gated.verdict.passed else "FAILED"
    return {
        "form": copy.form if copy else AS_EXPORTED,
        "form_reason": copy.reason if copy else "the only form",
        "gate": told,
        "verdict": gated.verdict.record() if gated else None,
        "kept_parts": list(gated.kept_parts) if gated else [],
        "tried": [{"kept": list(kept), "drop": drop} for kept, drop in gated.tried] if gated else [],
    }


def _settle(rows: list[dict[str, Any]], places: Mapping[str, str], folder: Path) -> None:
    """Adds to each row where its file lies and how large it is; what a layout copied has no row."""
    for row in rows:
        path = folder / places[row["precision"]]
        row["file"] = places[row["precision"]]
        row["size_bytes"] = path.stat().st_size
        row["compressed_bytes"] = len(gzip.compress(path.read_bytes(), _FAST_GZIP))


def choose_default(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Gives the file to take: of those that passed and were not shown slower than fp32, the smallest."""
    passed = [row for row in rows if row["gate"] == "passed" and row["speed_ratio"]["high"] >= 1]
    if passed:
        best = min(passed, key=lambda row: int(row["size_bytes"]))
        return str(best["precision"]), "the smallest that passed the gate and is not slower than fp32"
    if any(row["verdict"] for row in rows):
        return FP32, "no smaller copy both passed the gate and kept pace with it"
    return FP32, "no smaller copy was scored, so that none may stand in for it"
