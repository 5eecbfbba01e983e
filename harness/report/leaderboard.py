"""Several recipes, or one recipe's variants, side by side: ``leaderboard.md`` and ``leaderboard.html``."""

from __future__ import annotations

from pathlib import Path

from harness.report import comparisons, tables
from harness.report.exported import ExportResult
from harness.report.plots import Picture, score_by_size, score_by_variant
from harness.report.render import HTML_TEMPLATE, MARKDOWN_TEMPLATE, Part, filled, text_of
from harness.report.results import ModelResult, Results, TaskScore
from harness.report.summary import AVERAGE, average, average_interval, retention, teacher_of
from harness.report.tables import Table, estimate, percent, show, speed_up, task_title
from harness.report.values import Cost
from harness.units import format_count, format_duration

MARKDOWN, HTML = "leaderboard.md", "leaderboard.html"
_MEGA = 1e6
_NOTE = (
    "Scores in percent with 95 % intervals over items and seeds; the average's adds those of the tasks as of "
    "independent test sets. MB of the weights as stored; p50 and speed-up of the fp32 ONNX file, beside the "
    "teacher's in the same rounds. Tokens and time are of all steps that make the student, those shared with "
    "others too; the tasks are not counted. Ahead: the smallest model with fewer parameters and a higher "
    "average; – where there is none."
)


def varies(results: Results) -> bool:
    """Says whether variants of one recipe are compared, as papers ablate them."""
    return results.study is not None and results.study.paper is not None


def ranked(results: Results) -> list[ModelResult]:
    """Gives all but the baselines: recipes by their average, variants in the order of the study."""
    models = [one for one in results.models if one.role != "baseline"]
    if varies(results):
        return models
    return sorted(models, key=lambda one: -(average(results, one.id) or 0))


def leaderboard(results: Results) -> Table:
    """Gives the main table, a row for each of the models as they are ``ranked``."""
    tasks = [f"{task_title(task)} ({metric})" for task, metric in results.declared.tasks.items()]
    sizes = ("Parameters", "MB", "p50, ms", "Speed-up")
    ends = ("Average", "% of teacher", "Training tokens", "Time", "Ahead")
    rows = tuple(_row(results, one) for one in ranked(results))
    return Table("Leaderboard", ("Recipe", *sizes, *tasks, *ends), rows, _NOTE)


def _row(results: Results, model: ModelResult) -> tuple[str, ...]:
    file = _file(results, model)
    cost = next((one for one in results.costs if one.model == model.id), None)
    scores = [show(results.score(model.id, task), _score) for task in results.declared.tasks]
    return (
        model.name,
        show(model.num_parameters, format_count),
        show(model.size_bytes, lambda size: f"{size / _MEGA:.1f}"),
        show(None if file is None else file.p50_ms, lambda time_ms: f"{time_ms:.2f}"),
        show(None if file is None else file.ratio, speed_up),
        *scores,
        _average(results, model),
        _retained(results, model),
        show(cost, lambda one: format_count(one.tokens)),
        show(cost, _time),
        show(_ahead(results, model), lambda one: one.name),
    )


def _file(results: Results, model: ModelResult) -> ExportResult | None:
    files = (one for one in results.exports if one.model == model.id and one.precision == "fp32")
    return next(files, None)


def _time(cost: Cost) -> str:
    return show(cost.wall_s, format_duration)


def _score(score: TaskScore) -> str:
    bounds = score.interval
    told = percent(score.mean)
    return told if bounds is None else f"{told} ({percent(bounds.low)}–{percent(bounds.high)})"


def _average(results: Results, model: ModelResult) -> str:
    centre, bounds = average(results, model.id), average_interval(results, model.id)
    told = show(centre, percent)
    return told if bounds is None else f"{told} ({percent(bounds.low)}–{percent(bounds.high)})"


def _retained(results: Results, model: ModelResult) -> str:
    teacher = teacher_of(results)
    beside = results.comparison(model.id, teacher.id, AVERAGE) if teacher else None
    if beside is None or beside.retention is None:
        return show(retention(results, model.id), percent)
    return estimate(beside.retention)


def _ahead(results: Results, model: ModelResult) -> ModelResult | None:
    """Gives the smallest model that has fewer parameters and a higher average, if any."""
    size, mine = model.num_parameters, average(results, model.id)
    if size is None or mine is None:
        return None
    ahead = [
        (one.num_parameters, one)
        for one in results.models
        if one.role != "baseline"
        and one.num_parameters is not None
        and one.num_parameters < size
        and (average(results, one.id) or 0) > mine
    ]
    return min(ahead, key=lambda pair: pair[0])[1] if ahead else None


def beside_reference(results: Results) -> Table | None:
    """Gives every model beside the one the study names."""
    study = results.study
    reference = None if study is None else study.reference
    if reference is None:
        return None
    others = [one for one in results.by_role("student") if one.id != reference]
    pairs = [(one, one.id, reference) for one in others]
    title = f"Beside {tables.model_name(results, reference)}"
    return comparisons.matrix(results, title, pairs, "Read as the table above.")


def headline(results: Results) -> str:
    """Says what was asked, and what the papers answer."""
    study = results.study
    if study is None:
        return f"{results.run.recipe} in {results.run.language_name}."
    found = f" The paper: {study.paper}" if study.paper else ""
    return f"{study.question}{found}"


def _pictures(results: Results) -> list[Picture | None]:
    return [score_by_variant(results) if varies(results) else score_by_size(results)]


def sections(results: Results) -> dict[str, list[Part]]:
    """Gives the page's parts in order; a part without rows or drawing is left out."""
    return filled(
        {
            "Result": [
                leaderboard(results),
                *_pictures(results),
                tables.baselines(results),
                comparisons.beside_teacher(results),
                beside_reference(results),
            ],
            "ONNX": [tables.exports(results)],
            "How they were made": [tables.shapes(results), tables.training(results)],
            "Where the numbers come from": [
                tables.absent(results),
                tables.all_scores(results),
                comparisons.all_comparisons(results),
                comparisons.signatures(results),
                tables.environment(results),
                tables.provenance(results),
            ],
        }
    )


def render(results: Results, folder: Path) -> None:
    """Writes ``leaderboard.md`` with its figure, and ``leaderboard.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    told = headline(results), sections(results)
    for picture in _pictures(results):
        if picture is not None:
            (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    (folder / MARKDOWN).write_text(text_of(results, MARKDOWN_TEMPLATE, *told), encoding="utf-8")
    (folder / HTML).write_text(text_of(results, HTML_TEMPLATE, *told), encoding="utf-8")
