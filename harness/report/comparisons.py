"""Tables of what is better, what is worse and what cannot be told apart: no more than was shown."""

from __future__ import annotations

from harness.report.results import ComparisonRow, ModelResult, Results
from harness.report.summary import AVERAGE, final_student, teacher_of
from harness.report.tables import ABSENT, Table, estimate, model_name, show, task_title
from harness.report.values import Estimate

_RULE = (
    "Differences in points, with their 95 % interval over items and seeds. 'Better' and 'worse' stand only "
    "where the interval excludes 0 and, for a single task, approximate randomisation gives p < 0.05 after "
    "Holm's correction over all rows of this report."
)


def beside_teacher(results: Results) -> Table:
    """Gives every model beside the teacher, task by task."""
    teacher = teacher_of(results)
    others = [one for one in results.models if teacher is not None and one.id != teacher.id]
    pairs = [(one, one.id, teacher.id) for one in others] if teacher else []
    return matrix(results, "Beside the teacher", pairs, _RULE)


def beside_baselines(results: Results) -> Table:
    """Gives the final student beside every baseline, task by task."""
    student = final_student(results)
    pairs = [(one, student.id, one.id) for one in results.by_role("baseline")] if student else []
    name = student.name if student else ABSENT
    return matrix(results, f"{name}, beside each baseline", pairs, "Read as the table above.")


def matrix(results: Results, title: str, pairs: list[tuple[ModelResult, str, str]], note: str) -> Table:
    """Gives a table of pairs, task by task; a row is named by its model."""
    columns = [*results.declared.tasks, *([AVERAGE] if len(results.declared.tasks) > 1 else [])]
    rows = []
    for model, one, other in pairs:
        found = [results.comparison(one, other, task) for task in columns]
        if any(found):
            rows.append((model.name, *(show(cell, claim) for cell in found)))
    return Table(title, ("Model", *map(task_title, columns)), tuple(rows), note, words=True)


def claim(found: ComparisonRow) -> str:
    """Gives the difference in points with its interval, and the verdict."""
    return f"{_points(found.difference)}: {found.verdict}"


def _points(number: Estimate) -> str:
    return f"{_signed(number.value)} ({_signed(number.low)} to {_signed(number.high)})"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def all_comparisons(results: Results) -> Table:
    """Gives every comparison with its tests."""
    header = (
        "Model", "Beside", "Task", "Difference", "Share of it, %", "p", "p, Holm", "p, Wilcoxon", "Verdict",
        "Manifest",
    )  # fmt: skip
    rows = tuple(
        (
            model_name(results, one.model),
            model_name(results, one.other),
            task_title(one.task),
            _points(one.difference),
            show(one.retention, estimate),
            *(show(value, _probability) for value in (one.p_value, one.p_holm, one.p_wilcoxon)),
            one.verdict,
            one.key,
        )
        for one in results.comparisons
    )
    note = (
        "p: approximate randomisation of the items' predictions, two-sided; corrected by Holm over all rows; "
        "Wilcoxon's signed-rank test is over the items' own scores. The average has an interval and no test."
    )
    return Table("Every comparison", header, rows, note, words=True)


def _probability(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def signatures(results: Results) -> Table:
    """Gives what each score is a score of; one line for the metrics of one model on one task."""
    lines = {(one.model, one.task): one.signature for one in results.scores if one.signature is not None}
    rows = tuple(
        (model_name(results, model), task_title(task), line) for (model, task), line in lines.items()
    )
    return Table("Signatures", ("Model", "Task", "Signature"), rows, words=True)
