"""Draw the figures of a report as SVG, each with its content in words for readers who cannot see it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from harness.report.exported import ExportResult
from harness.report.results import Results
from harness.report.summary import average_interval, average_score
from harness.report.tables import format_percent
from harness.units import format_count, format_short

INK, LINE = "#1b1b1b", "#d9d9d9"
COLOURS = {"teacher": "#0b5394", "student": "#b45309", "baseline": "#6b7280"}
MARKERS = {"teacher": "s", "student": "o", "baseline": "^"}
_STYLE = {
    "svg.hashsalt": "report",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without the suffix.
        title: of the figure.
        text: its content in words, for readers who cannot see it.
        svg: the drawing.
    """

    name: str
    title: str
    text: str
    svg: bytes


def _create_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _render_svg(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return target.getvalue()


def draw_score_by_size(results: Results) -> Picture | None:
    """Draw the average score of each model against its parameters; None where no model has both."""
    points = [
        (one, one.num_parameters, centre)
        for one in results.models
        if one.num_parameters and (centre := average_score(results, one.id)) is not None
    ]
    if not points:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _create_axes(4.2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda size, _: format_short(size))
        axes.xaxis.set_minor_locator(NullLocator())
        for place, (model, size, centre) in enumerate(points):
            bounds = average_interval(results, model.id)
            spread = (
                None if bounds is None else [[100 * (centre - bounds.low)], [100 * (bounds.high - centre)]]
            )
            axes.errorbar(
                size, 100 * centre, yerr=spread, fmt=MARKERS[model.role], color=COLOURS[model.role], capsize=3
            )
            lift = 7 if place % 2 == 0 else -13
            axes.annotate(
                model.name, (size, 100 * centre), textcoords="offset points", xytext=(7, lift), fontsize=9
            )
        axes.margins(x=0.22, y=0.15)
        axes.grid(color=LINE, linewidth=0.6)
        axes.set_xlabel("Parameters (log scale)")
        axes.set_ylabel("Average score, %")
        svg = _render_svg(figure)
    values = "; ".join(
        f"{one.name}: {format_count(size)} parameters, {format_percent(c)} %" for one, size, c in points
    )
    title = "Average score against size, with 95 % intervals"
    return Picture("score-by-size", title, f"{title}. {values}.", svg)


def draw_latency_by_model(results: Results) -> Picture | None:
    """Draw the median latency of every ONNX file, with the 90th percentile; None where no file was timed."""
    names, roles = {one.id: one.name for one in results.models}, {one.id: one.role for one in results.models}
    bars = [(one, one.p50_ms) for one in results.exports if one.p50_ms is not None]
    if not bars:
        return None
    several = len({one.task for one, _ in bars}) > 1

    def label(file: ExportResult) -> str:
        return f"{names.get(file.model, file.model)}, {file.precision}" + (
            f", {file.task}" if several else ""
        )

    with mpl.rc_context(_STYLE):
        figure, axes = _create_axes(0.9 + 0.42 * len(bars))
        for place, (file, p50_ms) in enumerate(bars):
            colour = COLOURS[roles.get(file.model, "baseline")]
            axes.barh(
                place, p50_ms, height=0.6, color=colour, alpha=0.55 if file.precision == "fp32" else 1.0
            )
            end = p50_ms if file.p90_ms is None else file.p90_ms
            axes.plot([p50_ms, end], [place, place], color=INK, linewidth=1.2)
            axes.annotate(
                f"{p50_ms:.2f}",
                (max(p50_ms, end), place),
                textcoords="offset points",
                xytext=(5, -3),
                fontsize=9,
            )
        axes.set_yticks(range(len(bars)), [label(file) for file, _ in bars])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_xlabel("Latency, ms: bar p50, line to p90")
        svg = _render_svg(figure)
    values = "; ".join(f"{label(file)}: {p50_ms:.2f} ms" for file, p50_ms in bars)
    title = "Latency by model"
    return Picture("latency-by-model", title, f"{title}, median. {values}.", svg)


def draw_score_by_variant(results: Results) -> Picture | None:
    """Draw the average score of each variant with its interval, and the teacher's as a line."""
    points = [
        (one, centre, bounds)
        for one in results.list_models("student")
        if (centre := average_score(results, one.id)) is not None
        and (bounds := average_interval(results, one.id)) is not None
    ]
    if len(points) < 2:
        return None
    scores = [average_score(results, one.id) for one in results.list_models("teacher")]
    with mpl.rc_context(_STYLE):
        figure, axes = _create_axes(1.1 + 0.42 * len(points))
        for place, (_, centre, bounds) in enumerate(points):
            spread = [[100 * (centre - bounds.low)], [100 * (bounds.high - centre)]]
            axes.errorbar(100 * centre, place, xerr=spread, fmt="o", color=COLOURS["student"], capsize=3)
        for value in (score for score in scores if score is not None):
            axes.axvline(
                100 * value, color=COLOURS["teacher"], linestyle="--", linewidth=1.2, label="teacher"
            )
            axes.legend(frameon=False)
        axes.set_yticks(range(len(points)), [one.name for one, _, _ in points])
        axes.invert_yaxis()
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_xlabel("Average score, %, with 95 % interval")
        svg = _render_svg(figure)
    values = "; ".join(f"{one.name}: {format_percent(centre)} %" for one, centre, _ in points)
    title = "Average score by variant, with 95 % intervals"
    return Picture("score-by-variant", title, f"{title}. {values}.", svg)
