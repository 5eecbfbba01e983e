"""Tables of comparisons: better, worse, or no significant difference."""

from __future__ import annotations

from harness.report.results import ComparisonRow, ModelResult, Results
from harness.report.summary import AVERAGE, find_final_student, find_teacher
from harness.report.tables import (
    ABSENT,
    Table,
    find_model_name,
    format_estimate,
    format_optional,
    format_task,
)
from harness.report.values import Estimate
from harness.verdict import describe_verdict

_RULE = (
    "Differences in points, with their 95 % interval over items and seeds. 'Better' and 'worse' are printed "
    "only where the interval excludes 0 and, for a single task, approximate randomisation has p < 0.05 "
    "after Holm's correction over all rows of this report."
)


def compare_with_teacher(results: Results) -> Table:
    """Return the table of every model compared with the teacher, task by task."""
    teacher = find_teacher(results)
    others = [one for one in results.models if teacher is not None and one.id != teacher.id]
    pairs = [(one, one.id, teacher.id) for one in others] if teacher else []
    return tabulate_pairs(results, "Compared with the teacher", pairs, _RULE)


def compare_with_baselines(results: Results) -> Table:
    """Return the table of the final student compared with each baseline, task by task."""
    student = find_final_student(results)
    baselines = results.list_models("baseline")
    pairs = [(one, student.id, one.id) for one in baselines] if student else []
    name = student.title if student else ABSENT
    return tabulate_pairs(results, f"{name}, compared with each baseline", pairs, "Read as the table above.")


def tabulate_pairs(
    results: Results, title: str, pairs: list[tuple[ModelResult, str, str]], note: str
) -> Table:
    """Return a table of pairs, task by task; each row has the name of its model."""
    columns = [*results.declared.tasks, *([AVERAGE] if len(results.declared.tasks) > 1 else [])]
    rows = []
    for named, model, other in pairs:
        cells = [results.find_comparison(model, other, task) for task in columns]
        if any(cells):
            rows.append((named.title, *(format_optional(cell, format_claim) for cell in cells)))
    return Table(title, ("Model", *map(format_task, columns)), tuple(rows), note, words=True)


def format_claim(row: ComparisonRow) -> str:
    """Print the difference in points with its interval, and the verdict."""
    return f"{format_points(row.difference)}: {describe_verdict(row.verdict)}"


def format_points(number: Estimate) -> str:
    """Print a difference in points with its sign and its interval."""
    low, high = _format_signed(number.low), _format_signed(number.high)
    return f"{_format_signed(number.value)} ({low} to {high})"


def _format_signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def tabulate_comparisons(results: Results) -> Table:
    """Return the table of every comparison with its tests."""
    header = (
        "Model", "Compared with", "Task", "Difference", "Share of its score, %", "p", "p, Holm",
        "p, Wilcoxon", "Verdict", "Manifest",
    )  # fmt: skip
    rows = tuple(
        (
            find_model_name(results, one.model),
            find_model_name(results, one.other),
            format_task(one.task),
            format_points(one.difference),
            format_optional(one.retention, format_estimate),
            *(
                format_optional(value, _format_probability)
                for value in (one.p_value, one.p_holm, one.p_wilcoxon)
            ),
            describe_verdict(one.verdict),
            one.key,
        )
        for one in results.comparisons
    )
    note = (
        "p: approximate randomisation of the items' predictions, two-sided; corrected by Holm over all rows; "
        "Wilcoxon's signed-rank test is over the items' own scores. The average has an interval and no test."
    )
    return Table("Every comparison", header, rows, note, words=True, folded=True)


def _format_probability(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def tabulate_signatures(results: Results) -> Table:
    """Return the table of signatures; the metrics of one model on one task share a line."""
    lines = {(one.model, one.task): one.signature for one in results.scores if one.signature is not None}
    rows = tuple(
        (find_model_name(results, model), format_task(task), line) for (model, task), line in lines.items()
    )
    return Table("Signatures", ("Model", "Task", "Signature"), rows, words=True, folded=True)
