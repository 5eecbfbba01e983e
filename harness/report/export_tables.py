"""Tables of ONNX files: the exports, their copies in other precisions, and the graphs that were kept."""

from __future__ import annotations

from harness.report.exported import ExportResult
from harness.report.results import Results
from harness.report.summary import compute_size_ratio
from harness.report.tables import (
    ABSENT,
    Table,
    find_model_name,
    format_megabytes,
    format_optional,
    format_percent,
    format_speed_up,
    format_task,
)


def tabulate_exports(results: Results) -> Table:
    """Return the table of ONNX files."""
    header = (
        "Model", "Task", "Precision", "Graph", "MB", "Times smaller", "max |Δlogit|", "Labels as fp32, %",
        "p50, ms", "p90, ms", "Speed-up (95 % interval)",
    )  # fmt: skip
    timed = {
        (one.threads, one.length, one.batch_size) for one in results.exports if one.threads and one.length
    }
    settings = "; ".join(
        f"{threads} thread(s), {_describe_batch(batch_size)} of {length} tokens"
        for threads, length, batch_size in sorted(timed, key=str)
    )
    note = (
        "Times smaller and speed-up: compared with the teacher's fp32 file of the task, timed in the same "
        "rounds; a speed-up whose interval contains 1 is not printed. "
        f"Timing: {settings or ABSENT}. Labels as fp32: on the test part of the task."
    )
    return Table("ONNX files", header, tuple(_export_row(results, one) for one in results.exports), note)


def _describe_batch(batch_size: int | None) -> str:
    """Print the number of rows that were timed at once; an old record does not state it."""
    if batch_size is None:
        return "rows"
    return "one row" if batch_size == 1 else f"{batch_size} rows"


def _export_row(results: Results, file: ExportResult) -> tuple[str, ...]:
    return (
        find_model_name(results, file.model),
        format_task(file.task),
        file.precision,
        file.graph or ABSENT,
        format_optional(file.size_bytes, format_megabytes),
        format_optional(compute_size_ratio(results, file), lambda times: f"{times:.1f}×"),
        format_optional(file.max_abs_delta, lambda delta: f"{delta:.1e}"),
        format_optional(file.label_agreement, format_percent),
        format_optional(file.p50_ms, lambda time_ms: f"{time_ms:.2f}"),
        format_optional(file.p90_ms, lambda time_ms: f"{time_ms:.2f}"),
        format_optional(file.ratio, format_speed_up),
    )


def tabulate_copies(results: Results) -> Table:
    """Return the table of the final student's copies in other precisions, with the gate's verdicts."""
    lost = "Lost, points (95 % interval)"
    header = ("Task", "Precision", "MB", "fp32, %", "Copy, %", lost, "In fp32", "Gate")
    rows = [
        (
            format_task(one.task),
            one.precision,
            f"{one.size_bytes / 1e6:.2f}",
            format_percent(one.original),
            format_percent(one.score),
            f"{100 * one.drop.value:.2f} ({100 * one.drop.low:.2f} to {100 * one.drop.high:.2f})",
            ", ".join(one.kept_parts) or ABSENT,
            "passed" if one.passed else "FAILED",
        )
        for one in results.copies
    ]
    settings = sorted({(one.num_items, one.allowed) for one in results.copies})
    note = "Scores on " + "; ".join(
        f"{num_items} items of dev; {100 * allowed:g} points may be lost" for num_items, allowed in settings
    )
    note += (
        ". A copy fails where it loses significantly more than that; with few items only a large loss is "
        "significant."
    )
    return Table("Copies of the final student, checked by the quality gate", header, tuple(rows), note)


def tabulate_graphs(results: Results) -> Table:
    """Return the table of the exporter whose graph was kept for each file, and why."""
    kept = [one for one in results.exports if one.graph is not None and one.reason is not None]
    rows = tuple(
        (
            find_model_name(results, one.model),
            format_task(one.task),
            one.precision,
            one.graph or ABSENT,
            one.reason or ABSENT,
        )
        for one in kept
    )
    return Table("Graphs kept", ("Model", "Task", "Precision", "Graph", "Why"), rows, words=True)
