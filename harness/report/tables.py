"""Tables of results as text, one function a table. Percent exists only here; absent is printed ``–``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pydantic import JsonValue

from harness.report.finetuning import FinetuningNote
from harness.report.published import Published
from harness.report.results import ModelResult, Results, TaskScore
from harness.report.summary import (
    AVERAGE,
    average_score,
    compute_compression,
    compute_retention,
    find_final_student,
    find_teacher,
)
from harness.report.texts import Leakage, ReadingNote, Repeats, TaskPart
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
        title: of the table.
        header: names of the columns.
        rows: cells; each row as long as the header.
        note: how to read it.
        words: whether the columns after the first contain words, which are left-aligned.
        folded: whether a page shows the title alone until it is opened.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: bool = False
    folded: bool = False


def format_optional(value: T | None, form: Callable[[T], str]) -> str:
    """Print a value, or ``–`` where it is absent."""
    return ABSENT if value is None else form(value)


def format_percent(share: float) -> str:
    """Print a share in percent with one decimal, without the sign."""
    return f"{100 * share:.1f}"


def format_estimate(number: Estimate) -> str:
    """Print a share in percent with its interval."""
    low, high = format_percent(number.low), format_percent(number.high)
    return f"{format_percent(number.value)} ({low}–{high})"


def format_retention(results: Results, model: ModelResult) -> str:
    """Print the share of the teacher's average, with its interval where the two were compared."""
    teacher = find_teacher(results)
    comparison = results.find_comparison(model.id, teacher.id, AVERAGE) if teacher else None
    if comparison is None or comparison.retention is None:
        return format_optional(compute_retention(results, model.id), format_percent)
    return format_estimate(comparison.retention)


def format_speed_up(ratio: SpeedRatio) -> str:
    """Print a speed-up with its interval; a speed-up whose interval contains 1 is not printed."""
    bounds = f"{ratio.interval.low:.2f}–{ratio.interval.high:.2f}"
    return f"{ratio.value:.2f}× ({bounds})" if ratio.interval.excludes(1) else f"not significant ({bounds})"


def find_model_name(results: Results, model: str) -> str:
    """Return the name of a model in tables."""
    return next((one.title for one in results.models if one.id == model), model)


def format_task(task: str) -> str:
    """Print a task's title; a task of another version of the harness keeps its name."""
    return TASKS[task].title if task in TASKS else task.capitalize()


def format_megabytes(size_bytes: float) -> str:
    """Print a size in units of 10⁶ bytes, with one decimal."""
    return f"{size_bytes / _MEGA:.1f}"


def _format_score(score: TaskScore) -> str:
    return format_percent(score.mean) + (f" ± {format_percent(score.std)}" if score.std is not None else "")


def _score_row(results: Results, model: ModelResult) -> tuple[str, ...]:
    scores = [
        format_optional(results.find_score(model.id, task), _format_score) for task in results.declared.tasks
    ]
    return (
        model.title,
        format_optional(model.num_parameters, format_count),
        format_optional(model.size_bytes, format_megabytes),
        *scores,
        format_optional(average_score(results, model.id), format_percent),
        format_retention(results, model),
    )


def _score_table(results: Results, title: str, models: Sequence[ModelResult], note: str) -> Table:
    tasks = [f"{format_task(task)} ({metric})" for task, metric in results.declared.tasks.items()]
    header = ("Model", "Parameters", "MB", *tasks, "Average", "% of teacher")
    return Table(title, header, tuple(_score_row(results, one) for one in models), note)


def tabulate_scores(results: Results) -> Table:
    """Return the main table: size and scores of teacher and students."""
    models = [*results.list_models("teacher"), *results.list_models("student")]
    scored = [one for one in models if one.id in results.declared.scored]
    note = "Scores in percent, mean ± standard deviation over seeds. MB of the weights as stored (10⁶ bytes)."
    return _score_table(results, "Size and scores", scored, note)


def tabulate_baselines(results: Results) -> Table:
    """Return the table of baselines."""
    note = "Scores of the same tasks without pre-training, and without a model."
    return _score_table(results, "Baselines", results.list_models("baseline"), note)


def tabulate_shapes(results: Results) -> Table:
    """Return the table of shapes and parameters, with the step that made each model."""
    parts = sorted({part for one in results.models for part in one.parameters or {}})
    counted = [f"Parameters: {part.replace('_', ' ')}" for part in parts]
    header = ("Model", "After step", *_SHAPE.values(), *counted, "Parameters")
    rows = [
        (
            one.title,
            one.step or ABSENT,
            *(format_optional((one.shape or {}).get(name), str) for name in _SHAPE),
            *(format_optional((one.parameters or {}).get(part), format_count) for part in parts),
            format_optional(one.num_parameters, format_count),
        )
        for one in results.models
        if one.shape is not None or one.parameters is not None
    ]
    return Table("Shape after each step", header, tuple(rows))


def tabulate_training(results: Results) -> Table:
    """Return the table of each training's cost and losses."""
    header = ("Step", "Tokens", "Tokens/s", "Time", "Peak memory", "Final loss", "Held-out loss")
    rows = [
        (
            one.step,
            format_optional(one.tokens, format_count),
            format_optional(one.tokens_per_s, lambda speed: f"{speed:,.0f}"),
            format_optional(one.wall_s, format_duration),
            format_optional(one.peak_memory_bytes, format_bytes),
            format_optional(one.loss_final, lambda loss: f"{loss:.3f}"),
            format_optional(one.loss_held_out, lambda loss: f"{loss:.3f}"),
        )
        for one in results.training
    ]
    notes = ["Losses in nats, as each step defines its own."]
    notes += [f"{one.step}: {one.note}." for one in results.training if one.note is not None]
    return Table("Training", header, tuple(rows), " ".join(notes))


def tabulate_held_out(results: Results) -> Table:
    """Return the table of each model's loss on held-out text."""
    rows = tuple(
        (find_model_name(results, one.model), f"{one.loss:.3f}", f"{one.loss_per_byte:.4f}")
        for one in results.held_out
    )
    note = (
        "Nats. The number of tokens of a text depends on the vocabulary: compare models with different "
        "vocabularies by the loss per byte alone."
    )
    return Table(
        "Masked-language loss on held-out text", ("Model", "Per masked token", "Per byte"), rows, note
    )


def tabulate_leakage(results: Results) -> Table:
    """Return the table of items that are in two parts of a task."""
    rows = tuple(
        (format_task(one.task), f"{one.dev} of {one.n_dev}", f"{one.test} of {one.n_test}")
        for one in results.leakage
    )
    note = "Compared without case and white space. These items are scored like all others."
    return Table("Leakage", ("Task", "Dev texts in train", "Test texts in train or dev"), rows, note)


def tabulate_repeats(results: Results) -> Table:
    """Return the table of texts that occur more than once in a part of a task."""
    counted = {(one.task, one.part): one for one in results.repeats}

    def count(task: str, part: TaskPart) -> str:
        row = counted.get((task, part))
        return ABSENT if row is None else f"{row.duplicates} and {row.contradictions} of {row.items}"

    parts: tuple[TaskPart, ...] = ("train", "dev", "test")
    rows = tuple(
        (format_task(task), *(count(task, part) for part in parts))
        for task in dict.fromkeys(one.task for one in results.repeats)
    )
    note = (
        "First the items whose text an earlier item of the part has, then the items whose text has another "
        "label elsewhere in the part. Compared without case and white space; none is dropped."
    )
    return Table("Duplicates and contradictions", ("Task", *(part.title() for part in parts)), rows, note)


def tabulate_reading(results: Results) -> Table:
    """Return the table of notes on labelled data that was read otherwise than it is written."""
    rows = tuple((format_task(one.task), one.note) for one in results.reading)
    note = "With --strict-data all of these but unreadable texts of tasks that are not scored are errors."
    return Table("Labelled data read otherwise than written", ("Task", "Note"), rows, note, words=True)


def tabulate_finetuning(results: Results) -> Table:
    """Return the table of remarks about fine-tunings."""
    rows = tuple(
        (
            "all" if one.model is None else find_model_name(results, one.model),
            format_task(one.task),
            one.note,
        )
        for one in results.finetuning
    )
    note = (
        "A fine-tuning whose predictions on dev are constant or score below the most frequent label, or "
        "whose loss is not finite, is repeated at a quarter of its learning rate, twice at most."
    )
    return Table("Fine-tuning", ("Model", "Task", "Remark"), rows, note, words=True)


def tabulate_teacher_notes(results: Results) -> Table:
    """Return the table of changes that were made to the teacher before it was used."""
    rows = tuple((results.run.teacher, one.note) for one in results.teacher_notes)
    return Table("Notes on the teacher", ("Teacher", "Note"), rows, words=True)


def _format_published(number: Published) -> str:
    """Print a published number with all its digits."""
    low, high = (f"{round(100 * end, 2):g}" for end in (number.low, number.high))
    return low if low == high else f"{low} to {high}"


def tabulate_published(results: Results, numbers: Sequence[Published]) -> Table:
    """Return the table of the paper's numbers, with those of this run that correspond to them."""
    student = find_final_student(results)
    kept = None if student is None else compute_retention(results, student.id)
    here = {
        "compression": None if student is None else compute_compression(results, student),
        "drop": None if kept is None else 1 - kept,
    }
    rows = [
        (
            f"{one.quantity}: {one.row}",
            _format_published(one),
            format_optional(here.get(one.quantity), format_percent),
            one.language or ABSENT,
            ABSENT if one.task is None else format_task(one.task),
            f"{one.paper}, {one.place}",
            one.note,
        )
        for one in numbers
    ]
    header = ("Quantity", "Paper, %", "This run, %", "Language", "Task", "Read at", "Note")
    note = (
        "The paper's data, seeds and (at small scales) teacher are others: its numbers give context and are "
        "no measure of this run."
    )
    return Table("The paper's numbers", header, tuple(rows), note, words=True)


def tabulate_all_scores(results: Results) -> Table:
    """Return the table of every metric with its seeds, interval, test size and manifests."""
    header = ("Model", "Task", "Metric", "Mean", "95 % interval", "By seed", "Test items", "Manifest")
    rows = [
        (
            find_model_name(results, one.model),
            format_task(one.task),
            one.metric,
            format_percent(one.mean),
            format_optional(
                one.interval, lambda bounds: f"{format_percent(bounds.low)} to {format_percent(bounds.high)}"
            ),
            ", ".join(f"{format_percent(v)} (seed {s})" for s, v in zip(one.seeds, one.values, strict=True)),
            format_count(one.n_test),
            " ".join(one.keys),
        )
        for one in results.scores
    ]
    return Table("Every score", header, tuple(rows), _METRICS, words=True, folded=True)


_METRICS = (
    "seqeval_f1 is what seqeval computes on part-of-speech tags: it takes their first letter for IOB's, so "
    "that neighbours of one tag count as one. It is wrong, and only here for comparison with papers that "
    "report it."
)


def tabulate_provenance(results: Results) -> Table:
    """Return the table of manifests, with the numbers of this report that came from each."""
    numbers: dict[str, list[str]] = defaultdict(list)
    numbers.update({one.key: ["a note on the teacher"] for one in results.teacher_notes})
    name = partial(find_model_name, results)
    for model in results.models:
        numbers[model.key].append(f"size of {model.title}")
    for score in results.scores:
        for key in score.keys:
            numbers[key].append(f"{score.task} {score.metric} of {name(score.model)}")
    for file in results.exports:
        numbers[file.key].append(f"{file.task} {file.precision} file of {name(file.model)}")
    for copy in results.copies:
        numbers[copy.key].append(f"{copy.task} {copy.precision} copy of {name(copy.model)}")
    for row in results.training:
        numbers[row.key].append(f"training of {row.step}")
    for loss in results.held_out:
        numbers[loss.key].append(f"held-out loss of {name(loss.model)}")
    by_words: dict[str, Sequence[Leakage | Repeats | ReadingNote | FinetuningNote]] = {
        "leakage of": results.leakage,
        "duplicates of": results.repeats,
        "a note on the data of": results.reading,
        "a remark on fine-tuning on": results.finetuning,
    }
    for words, marked in by_words.items():
        for one in marked:
            numbers[one.key].append(f"{words} {one.task}")
    rows = tuple((key, "; ".join(dict.fromkeys(listed))) for key, listed in sorted(numbers.items()))
    note = "The command harness verify hashes the files of these stages again."
    return Table("Provenance", ("Manifest", "Numbers"), rows, note, words=True, folded=True)


def tabulate_environment(results: Results) -> Table:
    """Return the table of the machine and the versions."""
    rows = tuple((name, _format_plain(value)) for name, value in results.environment.items())
    return Table("Environment", ("What", "Value"), rows, words=True)


def _format_plain(value: JsonValue) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, dict):
        return ", ".join(f"{name} {_format_plain(one)}" for name, one in value.items())
    if isinstance(value, list):
        return " ".join(_format_plain(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def tabulate_missing(results: Results) -> Table:
    """Return the table of cells without a number, and why."""
    rows = tuple((one.cell, one.reason) for one in results.absent)
    return Table("What is absent", ("Cell", "Reason"), rows, words=True)
