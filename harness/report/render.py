"""Results as ``report.md``, one self-contained ``report.html`` and ``results.json``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.report import comparisons, tables
from harness.report.plots import Picture, latency_by_model, score_by_size
from harness.report.published import published
from harness.report.results import Results
from harness.report.tables import Table

RESULTS, MARKDOWN, HTML = "results.json", "report.md", "report.html"
MARKDOWN_TEMPLATE, HTML_TEMPLATE = "report.md.j2", "report.html.j2"
Part = Table | Picture
_HERE = Path(__file__).parent


def _escape_pipes(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _as_data(picture: Picture) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg).decode("ascii")


def templates(*folders: Path) -> jinja2.Environment:
    """Gives the templates of folders, and of the report: ``table.md.j2`` draws a table for any of them."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _HERE]),
        autoescape=lambda name: name is not None and ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"pipes": _escape_pipes, "data": _as_data}
    return made


def _sections(results: Results) -> dict[str, list[Part]]:
    """Gives the report's parts in order; a part without rows or drawing is left out."""
    numbers = published(results.run.recipe, results.run.language)
    parts: dict[str, list[Part | None]] = {
        "Result": [
            tables.scores(results),
            score_by_size(results),
            tables.baselines(results),
            comparisons.beside_teacher(results),
            comparisons.beside_baselines(results),
        ],
        "ONNX": [
            tables.exports(results),
            tables.copies(results),
            latency_by_model(results),
            tables.graphs(results),
        ],
        "How it was made": [tables.shapes(results), tables.training(results), tables.held_out(results)],
        "Beside the paper": [tables.papers(results, numbers)],
        "Where the numbers come from": [
            tables.absent(results),
            tables.leakage(results),
            tables.all_scores(results),
            comparisons.all_comparisons(results),
            comparisons.signatures(results),
            tables.environment(results),
            tables.provenance(results),
        ],
    }
    return filled(parts)


def filled(parts: Mapping[str, Sequence[Part | None]]) -> dict[str, list[Part]]:
    """Gives sections without what is absent or empty."""
    kept = {
        title: [one for one in part if one is not None and (not isinstance(one, Table) or one.rows)]
        for title, part in parts.items()
    }
    return {title: part for title, part in kept.items() if part}


def text_of(results: Results, template: str, headline: str, sections: Mapping[str, Sequence[Part]]) -> str:
    """Gives a page of sections, by one of the two templates."""
    made = templates().get_template(template)
    return made.render(
        run=results.run,
        headline=headline,
        sections=sections,
        css=(_HERE / "report.css").read_text(encoding="utf-8"),
        is_table=lambda part: isinstance(part, Table),
    )


def render_markdown(results: Results) -> str:
    """Gives the report as Markdown; its figures are the files beside it."""
    return text_of(results, MARKDOWN_TEMPLATE, tables.headline(results), _sections(results))


def render_html(results: Results) -> str:
    """Gives the report as one HTML page that asks for nothing from anywhere."""
    return text_of(results, HTML_TEMPLATE, tables.headline(results), _sections(results))


def render(results: Results, folder: Path) -> tuple[Path, Path]:
    """Writes ``report.md`` with its figures, and ``report.html``; gives both paths.

    Raises:
        HarnessError: a declared cell is neither filled nor explained.
    """
    results.check()
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (score_by_size(results), latency_by_model(results)):
        if picture is not None:
            (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    (folder / MARKDOWN).write_text(render_markdown(results), encoding="utf-8")
    (folder / HTML).write_text(render_html(results), encoding="utf-8")
    return folder / MARKDOWN, folder / HTML


def write_results(results: Results, folder: Path) -> Path:
    """Writes ``results.json``; equal results give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(results.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (folder / RESULTS).write_text(data + "\n", encoding="utf-8")
    return folder / RESULTS


def read_results(path: Path) -> Results:
    """Reads a ``results.json``.

    Raises:
        HarnessError: the file is missing or does not fit the schema; the first place is told.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise HarnessError(
            f"results: wanted a file at '{path}'; got {error.strerror}; run the pipeline first"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"]) or "the file"
        raise HarnessError(
            f"results: wanted '{path}' in this version's schema; got {first['msg']} at {place}; "
            f"run the pipeline again to write it anew"
        ) from error
