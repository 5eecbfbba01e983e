"""Write results as ``report.md``, one self-contained ``report.html`` and ``results.json``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.report import comparisons, export_tables, tables
from harness.report.answer import write_answer
from harness.report.plots import Picture, draw_latency_by_model, draw_loss_curves, draw_score_by_size
from harness.report.published import list_published
from harness.report.results import Results
from harness.report.tables import Table
from harness.report.templates import FOLDER, load_templates
from harness.report.usage import write_snippets

RESULTS, MARKDOWN, HTML = "results.json", "report.md", "report.html"
MARKDOWN_TEMPLATE, HTML_TEMPLATE = "report.md.j2", "report.html.j2"
Part = Table | Picture


def _encode_as_url(picture: Picture) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg).decode("ascii")


def _list_sections(results: Results) -> dict[str, list[Part]]:
    """Return the report's sections in order, without empty tables and absent pictures."""
    numbers = list_published(results.run.recipe, results.run.language)
    parts: dict[str, list[Part | None]] = {
        "Result": [
            tables.tabulate_scores(results),
            draw_score_by_size(results),
            tables.tabulate_baselines(results),
            comparisons.compare_with_teacher(results),
            comparisons.compare_with_baselines(results),
        ],
        "ONNX": [
            export_tables.tabulate_exports(results),
            export_tables.tabulate_copies(results),
            draw_latency_by_model(results),
            export_tables.tabulate_graphs(results),
        ],
        "How it was made": [
            tables.tabulate_shapes(results),
            tables.tabulate_training(results),
            draw_loss_curves(results),
            tables.tabulate_held_out(results),
            tables.tabulate_finetuning(results),
            tables.tabulate_teacher_notes(results),
        ],
        "The paper": [tables.tabulate_published(results, numbers)],
        "Where the numbers come from": [
            tables.tabulate_missing(results),
            tables.tabulate_leakage(results),
            tables.tabulate_repeats(results),
            tables.tabulate_reading(results),
            tables.tabulate_all_scores(results),
            comparisons.tabulate_comparisons(results),
            comparisons.tabulate_signatures(results),
            tables.tabulate_environment(results),
            tables.tabulate_provenance(results),
        ],
    }
    return drop_empty(parts)


def drop_empty(parts: Mapping[str, Sequence[Part | None]]) -> dict[str, list[Part]]:
    """Return the sections without absent pictures, tables without rows, and sections left empty."""
    kept = {
        title: [one for one in part if one is not None and (not isinstance(one, Table) or one.rows)]
        for title, part in parts.items()
    }
    return {title: part for title, part in kept.items() if part}


def render_page(
    results: Results, template: str, headline: Sequence[str], sections: Mapping[str, Sequence[Part]]
) -> str:
    """Return a page of sections under a headline of sentences, rendered by one of the two templates."""
    templates = load_templates()
    templates.filters["data"] = _encode_as_url
    return templates.get_template(template).render(
        run=results.run,
        headline=headline,
        sections=sections,
        snippets=write_snippets(results),
        css=(FOLDER / "report.css").read_text(encoding="utf-8"),
        is_table=lambda part: isinstance(part, Table),
    )


def render_markdown(results: Results) -> str:
    """Return the report as Markdown; its figures are files in the same folder."""
    return render_page(results, MARKDOWN_TEMPLATE, write_answer(results), _list_sections(results))


def render_html(results: Results) -> str:
    """Return the report as one HTML page that loads nothing else."""
    return render_page(results, HTML_TEMPLATE, write_answer(results), _list_sections(results))


def write_report(results: Results, folder: Path) -> tuple[Path, Path]:
    """Write ``report.md`` with its figures, and ``report.html``; return both paths.

    Raises:
        HarnessError: a declared cell is neither filled nor explained.
    """
    results.check()
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (draw_score_by_size(results), draw_latency_by_model(results), draw_loss_curves(results)):
        if picture is not None:
            (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    (folder / MARKDOWN).write_text(render_markdown(results), encoding="utf-8")
    (folder / HTML).write_text(render_html(results), encoding="utf-8")
    return folder / MARKDOWN, folder / HTML


def write_results(results: Results, folder: Path) -> Path:
    """Write ``results.json``; equal results give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(results.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (folder / RESULTS).write_text(data + "\n", encoding="utf-8")
    return folder / RESULTS
