"""Results as tables of text: one function a table. Percent exists only here; absent is printed ``–``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import JsonValue

from harness.report.exported import ExportResult
from harness.report.published import Published
from harness.report.results import ModelResult, Results, TaskScore
from harness.report.summary import (
    AVERAGE,
    average,
    compression,
    final_student,
    retention,
    teacher_of,
    times_smaller,
)
from harness.report.values import Estimate, SpeedRatio
from harness.tasks import TASKS
from harness.units import format_bytes, format_count, format_duration

ABSENT = "–"
_MEGA = 1e6
_SHAPE = {"layers": "Layers", "hidden": "Hidden", "heads": "Heads", "ffn": "FFN", "vocabulary": "Vocabulary"}
T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names its row.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: cells; each row as long as the header.
        note: how to read it.
        words: whether the columns after the first hold words, so that they stand at the left.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: bool = False


def show(value: T | None, form: Callable[[T], str]) -> str:
    """Prints a value, or ``–`` where it is absent."""
    return ABSENT if value is None else form(value)


def percent(share: float) -> str:
    """Prints a share in percent with one decimal, without the sign."""
    return f"{100 * share:.1f}"


def estimate(number: Estimate) -> str:
    """Prints a share in percent with its interval."""
    return f"{percent(number.value)} ({percent(number.low)}–{percent(number.high)})"


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / _MEGA:.1f}"


def _score(score: TaskScore) -> str:
    return percent(score.mean) + (f" ± {percent(score.std)}" if score.std is not None else "")


def model_name(results: Results, model: str) -> str:
    """Gives what tables call a model."""
    return next((one.name for one in results.models if one.id == model), model)


def task_title(task: str) -> str:
    """Return what tables call a task; a task of another version of the harness keeps its name."""
    return TASKS[task].title if task in TASKS else task.capitalize()


def _score_row(results: Results, model: ModelResult) -> tuple[str, ...]:
    scores = [show(results.score(model.id, task), _score) for task in results.declared.tasks]
    return (
        model.name,
        show(model.num_parameters, format_count),
        show(model.size_bytes, _megabytes),
        *scores,
        show(average(results, model.id), percent),
        _retained(results, model),
    )


def _retained(results: Results, model: ModelResult) -> str:
    """Prints the share of the teacher's average, with its interval where the two were compared."""
    teacher = teacher_of(results)
    beside = results.comparison(model.id, teacher.id, AVERAGE) if teacher else None
    if beside is None or beside.retention is None:
        return show(retention(results, model.id), percent)
    return estimate(beside.retention)


def _score_table(results: Results, title: str, models: Sequence[ModelResult], note: str) -> Table:
    tasks = [f"{task_title(task)} ({metric})" for task, metric in results.declared.tasks.items()]
    header = ("Model", "Parameters", "MB", *tasks, "Average", "% of teacher")
    return Table(title, header, tuple(_score_row(results, one) for one in models), note)


def scores(results: Results) -> Table:
    """Gives the main table: size and scores of teacher and students."""
    models = [
        one for one in (*results.by_role("teacher"), *results.by_role("student")) if _in_table(results, one)
    ]
    note = "Scores in percent, mean ± standard deviation over seeds. MB of the weights as stored (10⁶ bytes)."
    return _score_table(results, "Size and scores", models, note)


def _in_table(results: Results, model: ModelResult) -> bool:
    return model.id in results.declared.scored


def baselines(results: Results) -> Table:
    """Gives the table of baselines."""
    note = "What the same tasks give without pre-training, and without a model."
    return _score_table(results, "Baselines", results.by_role("baseline"), note)


def shapes(results: Results) -> Table:
    """Gives the shape and parameters of every model by the step that made it."""
    parts = sorted({part for one in results.models for part in one.parameters or {}})
    counted = [f"Parameters: {part.replace('_', ' ')}" for part in parts]
    header = ("Model", "After step", *_SHAPE.values(), *counted, "Parameters")
    rows = [
        (
            one.name,
            one.step or ABSENT,
            *(show((one.shape or {}).get(name), str) for name in _SHAPE),
            *(show((one.parameters or {}).get(part), format_count) for part in parts),
            show(one.num_parameters, format_count),
        )
        for one in results.models
        if one.shape is not None or one.parameters is not None
    ]
    return Table("Shape after each step", header, tuple(rows))


def speed_up(ratio: SpeedRatio) -> str:
    """Prints a speed-up with its interval; refuses to print one whose interval holds 1."""
    bounds = f"{ratio.interval.low:.2f}–{ratio.interval.high:.2f}"
    return f"{ratio.value:.2f}× ({bounds})" if ratio.interval.excludes(1) else f"none shown ({bounds})"


def exports(results: Results) -> Table:
    """Gives the table of ONNX files."""
    header = (
        "Model", "Task", "Precision", "Graph", "MB", "Times smaller", "max |Δlogit|", "Same label, %",
        "p50, ms", "p90, ms", "Speed-up (95 % interval)",
    )  # fmt: skip
    timed = {
        (one.threads, one.length, one.batch_size) for one in results.exports if one.threads and one.length
    }
    setting = "; ".join(
        f"{threads} thread(s), {_rows(batch_size)} of {length} tokens"
        for threads, length, batch_size in sorted(timed, key=str)
    )
    note = (
        "Times smaller and speed-up: beside the teacher's fp32 file of the task, timed in the same rounds; "
        f"a speed-up whose interval holds 1 is not shown. Timing: {setting or ABSENT}."
    )
    return Table("ONNX files", header, tuple(_export_row(results, one) for one in results.exports), note)


def _rows(batch_size: int | None) -> str:
    """Tells how many rows were timed at once; an old record does not say."""
    return {None: "rows", 1: "one row"}.get(batch_size, f"{batch_size} rows")


def _export_row(results: Results, file: ExportResult) -> tuple[str, ...]:
    return (
        model_name(results, file.model),
        task_title(file.task),
        file.precision,
        file.graph or ABSENT,
        show(file.size_bytes, _megabytes),
        show(times_smaller(results, file), lambda times: f"{times:.1f}×"),
        show(file.max_abs_delta, lambda delta: f"{delta:.1e}"),
        show(file.argmax_agreement, percent),
        show(file.p50_ms, lambda time_ms: f"{time_ms:.2f}"),
        show(file.p90_ms, lambda time_ms: f"{time_ms:.2f}"),
        show(file.ratio, speed_up),
    )


def copies(results: Results) -> Table:
    """Gives the copies of the final student in other precisions, and the gate's verdicts."""
    lost = "Lost, points (95 % interval)"
    header = ("Task", "Precision", "MB", "fp32, %", "Copy, %", lost, "In fp32", "Gate")
    rows = [
        (
            task_title(one.task),
            one.precision,
            f"{one.size_bytes / _MEGA:.2f}",
            percent(one.original),
            percent(one.score),
            f"{100 * one.drop.value:.2f} ({100 * one.drop.low:.2f} to {100 * one.drop.high:.2f})",
            ", ".join(one.kept_parts) or ABSENT,
            "passed" if one.passed else "FAILED",
        )
        for one in results.copies
    ]
    told = sorted({(one.num_items, one.allowed) for one in results.copies})
    note = "Scores on " + "; ".join(
        f"{num_items} items of dev; {100 * allowed:g} points may be lost" for num_items, allowed in told
    )
    note += (
        ". A copy fails where it loses more beyond doubt; with few items only a large loss is beyond doubt."
    )
    return Table("Copies of the final student before the quality gate", header, tuple(rows), note)


def graphs(results: Results) -> Table:
    """Gives which exporter's graph was kept for each file, and why."""
    kept = [one for one in results.exports if one.graph is not None and one.reason is not None]
    rows = tuple(
        (
            model_name(results, one.model),
            task_title(one.task),
            one.precision,
            one.graph or ABSENT,
            one.reason or ABSENT,
        )
        for one in kept
    )
    return Table("Graphs kept", ("Model", "Task", "Precision", "Graph", "Why"), rows, words=True)


def training(results: Results) -> Table:
    """Gives what each step that trains cost and reached."""
    header = ("Step", "Tokens", "Tokens/s", "Time", "Peak memory", "Final loss", "Held-out loss")
    rows = [
        (
            one.step,
            show(one.tokens, format_count),
            show(one.tokens_per_s, lambda speed: f"{speed:,.0f}"),
            show(one.wall_s, format_duration),
            show(one.peak_memory_bytes, format_bytes),
            show(one.loss_final, lambda loss: f"{loss:.3f}"),
            show(one.loss_held_out, lambda loss: f"{loss:.3f}"),
        )
        for one in results.training
    ]
    return Table("Training", header, tuple(rows), "Losses in nats, as each step defines its own.")


def held_out(results: Results) -> Table:
    """Gives how well each model fills in held-out text."""
    rows = tuple(
        (model_name(results, one.model), f"{one.loss:.3f}", f"{one.loss_per_byte:.4f}")
        for one in results.held_out
    )
    note = (
        "Nats. A vocabulary cuts text into more or fewer tokens: compare models of different vocabularies "
        "by the loss per byte alone."
    )
    return Table(
        "Masked-language loss on held-out text", ("Model", "Per masked token", "Per byte"), rows, note
    )


def leakage(results: Results) -> Table:
    """Gives how many items stand in two parts of a task."""
    rows = tuple(
        (task_title(one.task), f"{one.dev} of {one.n_dev}", f"{one.test} of {one.n_test}")
        for one in results.leakage
    )
    note = "Whatever their case and spaces; they are scored all the same."
    return Table("Leakage", ("Task", "Dev texts in train", "Test texts in train or dev"), rows, note)


def _printed(number: Published) -> str:
    """Prints a published number with all its digits."""
    low, high = (f"{round(100 * end, 2):g}" for end in (number.low, number.high))
    return low if low == high else f"{low} to {high}"


def papers(results: Results, numbers: Sequence[Published]) -> Table:
    """Gives the paper's numbers, and beside them this run's where it has the like."""
    student = final_student(results)
    kept = None if student is None else retention(results, student.id)
    here = {
        "compression": None if student is None else compression(results, student),
        "drop": None if kept is None else 1 - kept,
    }
    rows = [
        (
            f"{one.quantity}: {one.row}",
            _printed(one),
            show(here.get(one.quantity), percent),
            one.language or ABSENT,
            ABSENT if one.task is None else task_title(one.task),
            f"{one.paper}, {one.place}",
            one.note,
        )
        for one in numbers
    ]
    header = ("Quantity", "Paper, %", "This run, %", "Language", "Task", "Read at", "Note")
    note = (
        "Other data, seeds and (at small scales) another teacher: to be read beside this run, not against it."
    )
    return Table("The paper's numbers", header, tuple(rows), note, words=True)


def all_scores(results: Results) -> Table:
    """Gives every metric with its seeds, interval, test size and manifests."""
    header = ("Model", "Task", "Metric", "Mean", "95 % interval", "By seed", "Test items", "Manifest")
    rows = [
        (
            model_name(results, one.model),
            task_title(one.task),
            one.metric,
            percent(one.mean),
            show(one.interval, lambda bounds: f"{percent(bounds.low)} to {percent(bounds.high)}"),
            ", ".join(f"{percent(v)} (seed {s})" for s, v in zip(one.seeds, one.values, strict=True)),
            format_count(one.n_test),
            " ".join(one.keys),
        )
        for one in results.scores
    ]
    return Table("Every score", header, tuple(rows), _METRICS, words=True)


_METRICS = (
    "seqeval_f1 is what seqeval gives on part-of-speech tags, whose first letter it takes for IOB's, so that "
    "neighbours of one tag count as one: wrong, and here only to stand beside papers that report it."
)


def provenance(results: Results) -> Table:
    """Gives, for every manifest, the numbers of this report that came from it."""
    held: dict[str, list[str]] = defaultdict(list)
    for model in results.models:
        held[model.key].append(f"size of {model.name}")
    for score in results.scores:
        for key in score.keys:
            held[key].append(f"{score.task} {score.metric} of {model_name(results, score.model)}")
    for file in results.exports:
        held[file.key].append(f"{file.task} {file.precision} file of {model_name(results, file.model)}")
    for copy in results.copies:
        held[copy.key].append(f"{copy.task} {copy.precision} copy of {model_name(results, copy.model)}")
    for row in results.training:
        held[row.key].append(f"training of {row.step}")
    for loss in results.held_out:
        held[loss.key].append(f"held-out loss of {model_name(results, loss.model)}")
    for leak in results.leakage:
        held[leak.key].append(f"leakage of {leak.task}")
    rows = tuple((key, "; ".join(dict.fromkeys(names))) for key, names in sorted(held.items()))
    return Table(
        "Provenance",
        ("Manifest", "Numbers"),
        rows,
        "`harness verify` re-hashes what stands behind.",
        words=True,
    )


def environment(results: Results) -> Table:
    """Gives what the run was measured on."""
    rows = tuple((name, _plain(value)) for name, value in results.environment.items())
    return Table("Environment", ("What", "Value"), rows, words=True)


def _plain(value: JsonValue) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list):
        return " ".join(_plain(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def absent(results: Results) -> Table:
    """Gives the cells that have no number, and why."""
    rows = tuple((one.cell, one.reason) for one in results.absent)
    return Table("What is absent", ("Cell", "Reason"), rows, words=True)


def headline(results: Results) -> str:
    """Says in one sentence what the run made, from its numbers; says less where numbers are absent."""
    teacher, student = teacher_of(results), final_student(results)
    if teacher is None or student is None:
        return "This run made no student."
    told = [f"From {teacher.name} the recipe made {student.name} for {results.run.language_name}"]
    saved, kept = compression(results, student), retention(results, student.id)
    if saved is not None:
        told.append(f"{percent(saved)} % fewer parameters")
    if kept is not None:
        told.append(f"{_retained(results, student)} % of the teacher's average score")
    return ": ".join([told[0], ", ".join(told[1:])] if told[1:] else told) + "."
