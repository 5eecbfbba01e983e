"""Compare several recipes, or one recipe's variants: ``leaderboard.md`` and ``leaderboard.html``."""

from __future__ import annotations

from pathlib import Path

from harness.precisions import FP32
from harness.report import comparisons, export_tables, tables
from harness.report.exported import ExportResult
from harness.report.plots import Picture, draw_score_by_size, draw_score_by_variant
from harness.report.render import HTML_TEMPLATE, MARKDOWN_TEMPLATE, Part, drop_empty, render_page
from harness.report.results import ModelResult, Results, TaskScore
from harness.report.summary import average_interval, average_score
from harness.report.tables import (
    Table,
    find_model_name,
    format_megabytes,
    format_optional,
    format_percent,
    format_retention,
    format_speed_up,
    format_task,
)
from harness.report.values import Cost, IntervalValue
from harness.units import format_count, format_duration

MARKDOWN, HTML = "leaderboard.md", "leaderboard.html"
_NOTE = (
    "Scores in percent with 95 % intervals over items and seeds; the interval of the average adds those of "
    "the tasks up as for independent test sets. MB of the weights as stored; p50 and speed-up of the fp32 "
    "ONNX file, compared with the teacher's in the same rounds. Tokens and time are of all steps that make "
    "the student, including steps shared with other students; the tasks are not counted. Ahead: the smallest "
    "model with fewer parameters and a higher average; – where there is none."
)


def compares_variants(results: Results) -> bool:
    """Return whether variants of one recipe are compared, as in the ablations of papers."""
    return results.study is not None and results.study.paper is not None


def rank_models(results: Results) -> list[ModelResult]:
    """Return all models but the baselines: recipes by their average, variants in the order of the study."""
    models = [one for one in results.models if one.role != "baseline"]
    if compares_variants(results):
        return models
    return sorted(models, key=lambda one: -(average_score(results, one.id) or 0))


def tabulate_models(results: Results) -> Table:
    """Return the main table, with a row for each of the ranked models."""
    tasks = [f"{format_task(task)} ({metric})" for task, metric in results.declared.tasks.items()]
    sizes = ("Parameters", "MB", "p50, ms", "Speed-up")
    ends = ("Average", "% of teacher", "Training tokens", "Time", "Ahead")
    rows = tuple(_model_row(results, one) for one in rank_models(results))
    return Table("Leaderboard", ("Recipe", *sizes, *tasks, *ends), rows, _NOTE)


def _model_row(results: Results, model: ModelResult) -> tuple[str, ...]:
    file = _find_file(results, model)
    cost = next((one for one in results.costs if one.model == model.id), None)
    scores = [
        format_optional(results.find_score(model.id, task), _format_score) for task in results.declared.tasks
    ]
    return (
        model.name,
        format_optional(model.num_parameters, format_count),
        format_optional(model.size_bytes, format_megabytes),
        format_optional(None if file is None else file.p50_ms, lambda time_ms: f"{time_ms:.2f}"),
        format_optional(None if file is None else file.ratio, format_speed_up),
        *scores,
        _format_average(results, model),
        format_retention(results, model),
        format_optional(cost, lambda one: format_count(one.tokens)),
        format_optional(cost, _format_time),
        format_optional(_find_model_ahead(results, model), lambda one: one.name),
    )


def _find_file(results: Results, model: ModelResult) -> ExportResult | None:
    files = (one for one in results.exports if one.model == model.id and one.precision == FP32)
    return next(files, None)


def _format_time(cost: Cost) -> str:
    return format_optional(cost.wall_s, format_duration)


def _format_score(score: TaskScore) -> str:
    return format_percent(score.mean) + _format_bounds(score.interval)


def _format_average(results: Results, model: ModelResult) -> str:
    average = format_optional(average_score(results, model.id), format_percent)
    return average + _format_bounds(average_interval(results, model.id))


def _format_bounds(bounds: IntervalValue | None) -> str:
    return "" if bounds is None else f" ({format_percent(bounds.low)}–{format_percent(bounds.high)})"


def _find_model_ahead(results: Results, model: ModelResult) -> ModelResult | None:
    """Return the smallest model with fewer parameters and a higher average, if any."""
    size, own = model.num_parameters, average_score(results, model.id)
    if size is None or own is None:
        return None
    ahead = [
        (one.num_parameters, one)
        for one in results.models
        if one.role != "baseline"
        and one.num_parameters is not None
        and one.num_parameters < size
        and (average_score(results, one.id) or 0) > own
    ]
    return min(ahead, key=lambda pair: pair[0])[1] if ahead else None


def compare_with_reference(results: Results) -> Table | None:
    """Return the table of every model compared with the reference that the study names."""
    study = results.study
    reference = None if study is None else study.reference
    if reference is None:
        return None
    others = [one for one in results.list_models("student") if one.id != reference]
    pairs = [(one, one.id, reference) for one in others]
    title = f"Compared with {find_model_name(results, reference)}"
    return comparisons.tabulate_pairs(results, title, pairs, "Read as the table above.")


def write_headline(results: Results) -> str:
    """Return the question of the study, and the papers' answer."""
    study = results.study
    if study is None:
        return f"{results.run.recipe} in {results.run.language_name}."
    answer = f" The paper: {study.paper}" if study.paper else ""
    return f"{study.question}{answer}"


def _draw_pictures(results: Results) -> list[Picture | None]:
    return [draw_score_by_variant(results) if compares_variants(results) else draw_score_by_size(results)]


def list_sections(results: Results) -> dict[str, list[Part]]:
    """Return the page's sections in order, without tables that have no rows and pictures that are absent."""
    return drop_empty(
        {
            "Result": [
                tabulate_models(results),
                *_draw_pictures(results),
                tables.tabulate_baselines(results),
                comparisons.compare_with_teacher(results),
                compare_with_reference(results),
            ],
            "ONNX": [export_tables.tabulate_exports(results)],
            "How they were made": [tables.tabulate_shapes(results), tables.tabulate_training(results)],
            "Where the numbers come from": [
                tables.tabulate_missing(results),
                tables.tabulate_all_scores(results),
                comparisons.tabulate_comparisons(results),
                comparisons.tabulate_signatures(results),
                tables.tabulate_environment(results),
                tables.tabulate_provenance(results),
            ],
        }
    )


def write_leaderboard(results: Results, folder: Path) -> None:
    """Write ``leaderboard.md`` with its figure, and ``leaderboard.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    headline, sections = (write_headline(results),), list_sections(results)
    for picture in _draw_pictures(results):
        if picture is not None:
            (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    for name, template in ((MARKDOWN, MARKDOWN_TEMPLATE), (HTML, HTML_TEMPLATE)):
        page = render_page(results, template, headline, sections)
        (folder / name).write_text(page, encoding="utf-8")
