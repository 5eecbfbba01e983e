"""Draw the figures of a report as SVG, each with its content in words for readers who cannot see it."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from harness.report.escaping import drop_control_characters
from harness.report.exported import ExportResult
from harness.report.label_placement import Box, Label, place_labels
from harness.report.results import ModelResult, Results
from harness.report.summary import average_interval, average_score
from harness.report.tables import format_percent
from harness.report.training import LossPoint
from harness.units import format_count, format_short

INK, LINE = "#1b1b1b", "#d9d9d9"
COLOURS = {"teacher": "#0b5394", "student": "#b45309", "baseline": "#6b7280"}
MARKERS = {"teacher": "s", "student": "o", "baseline": "^"}
_DPI = 72
"""Of SVG, so that the texts are measured at the size in which they are drawn."""
_WIDTH_OF_LABEL = 26
_FAR = 9
"""The gap in points from which a thin line connects a label with its point."""
_PANELS = 3
"""Loss curves next to each other."""
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
    figure = Figure(figsize=(7.2, height), layout="constrained", dpi=_DPI)
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
    """Draw the average score of each model against its parameters, and models without any as lines.

    Return None where no model has both a score and parameters.
    """
    scored = [
        (one, centre) for one in results.models if (centre := average_score(results, one.id)) is not None
    ]
    points = [(one, one.num_parameters, centre) for one, centre in scored if one.num_parameters]
    levels = [(one, centre) for one, centre in scored if not one.num_parameters]
    if not points:
        return None
    with mpl.rc_context(_STYLE):
        figure, _ = _draw_points(results, points, levels)
        svg = _render_svg(figure)
    values = "; ".join(
        [f"{one.title}: {format_count(size)} parameters, {format_percent(c)} %" for one, size, c in points]
        + [f"{one.title}: a line at {format_percent(centre)} %" for one, centre in levels]
    )
    title = "Average score against size, with 95 % intervals"
    return Picture("score-by-size", title, f"{title}. {values}.", svg)


def _draw_points(
    results: Results,
    points: Sequence[tuple[ModelResult, int, float]],
    levels: Sequence[tuple[ModelResult, float]],
) -> tuple[Figure, list[Annotation]]:
    """Return the figure of scores by size, and its labels."""
    figure, axes = _create_axes(4.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda size, _: format_short(size))
    axes.xaxis.set_minor_locator(NullLocator())
    for model, size, centre in points:
        low, high = _find_bounds(results, model, centre)
        axes.errorbar(
            size,
            100 * centre,
            yerr=[[100 * (centre - low)], [100 * (high - centre)]] if high > low else None,
            fmt=MARKERS[model.role],
            color=COLOURS[model.role],
            capsize=3,
        )
    for _, centre in levels:
        axes.axhline(100 * centre, color=COLOURS["baseline"], linestyle="--", linewidth=1.2)
    axes.margins(x=0.22, y=0.15)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_xlabel("Parameters (log scale)")
    axes.set_ylabel("Average score, %")
    return figure, _write_labels(results, axes, points, levels)


def _find_bounds(results: Results, model: ModelResult, centre: float) -> tuple[float, float]:
    bounds = average_interval(results, model.id)
    return (centre, centre) if bounds is None else (bounds.low, bounds.high)


def _write_labels(
    results: Results,
    axes: Axes,
    points: Sequence[tuple[ModelResult, int, float]],
    levels: Sequence[tuple[ModelResult, float]],
) -> list[Annotation]:
    """Write the name of every point and line where it covers nothing; return the texts.

    Measures the texts, so that it must be called after everything else was drawn.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    extent = axes.get_window_extent()
    area = Box(extent.x0 + 2, extent.y0 + 2, extent.width - 4, extent.height - 4)

    def locate(x: float, y: float) -> tuple[float, float]:
        left, bottom = axes.transData.transform((x, y))
        return float(left), float(bottom)

    named = [(one, points[0][1], centre, True) for one, centre in levels]
    named += [(one, size, centre, False) for one, size, centre in points]
    texts, labels, markers, lines = [], [], [], []
    for model, size, centre, along in named:
        name = textwrap.fill(str(drop_control_characters(model.title)), _WIDTH_OF_LABEL)
        x, y = locate(size, 100 * centre)
        text = axes.annotate(
            name, (0, 0), xycoords="figure points", fontsize=9, color=COLOURS[model.role], parse_math=False
        )
        own = text.get_window_extent()
        texts.append(text)
        labels.append(Label(x, y, own.width + 4, own.height + 2, along))
        if along:
            lines.append(Box(extent.x0, y - 1, extent.width, 2))
        else:
            low, high = (locate(size, 100 * end)[1] for end in _find_bounds(results, model, centre))
            markers.append(Box(x - 4, y - 4, 8, 8))
            lines.append(Box(x - 3, low, 6, high - low))
    boxes = place_labels(labels, area, markers, lines)
    for text, label, box in zip(texts, labels, boxes, strict=True):
        text.set_position((box.left + 2, box.bottom + 1))
        if not label.along and _measure_gap(label, box) > _FAR:
            end = (
                min(max(label.x, box.left), box.left + box.width),
                min(max(label.y, box.bottom), box.bottom + box.height),
            )
            axes.annotate(
                "",
                (label.x, label.y),
                xycoords="figure points",
                xytext=end,
                textcoords="figure points",
                arrowprops={"arrowstyle": "-", "color": COLOURS["baseline"], "linewidth": 0.6, "shrinkB": 4},
                zorder=1,
            )
    return texts


def _measure_gap(label: Label, box: Box) -> float:
    """Return the distance from an anchor to its box."""
    across = max(box.left - label.x, 0, label.x - box.left - box.width)
    return math.hypot(across, max(box.bottom - label.y, 0, label.y - box.bottom - box.height))


def draw_latency_by_model(results: Results) -> Picture | None:
    """Draw the median latency of every ONNX file, with the 90th percentile; None where no file was timed."""
    names, roles = {one.id: one.title for one in results.models}, {one.id: one.role for one in results.models}
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


def draw_loss_curves(results: Results) -> Picture | None:
    """Draw the loss of each training over its steps, a panel for each; None where none was logged twice.

    The losses of different steps are different sums, so that each panel has an axis of its own.
    """
    trained = [one for one in results.training if len(one.curve) > 1]
    if not trained:
        return None
    rows = math.ceil(len(trained) / _PANELS)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 0.4 + 1.8 * rows), layout="constrained", dpi=_DPI)
        FigureCanvasSVG(figure)
        for place, one in enumerate(trained, start=1):
            axes = figure.add_subplot(rows, min(_PANELS, len(trained)), place)
            axes.spines[["top", "right"]].set_visible(False)
            axes.plot(
                [point.step for point in one.curve],
                [point.loss for point in one.curve],
                color=COLOURS["student"],
                linewidth=1.4,
            )
            axes.set_title(str(drop_control_characters(one.step)), fontsize=10, parse_math=False)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.xaxis.set_major_formatter(lambda step, _: format_short(step))
            axes.grid(color=LINE, linewidth=0.6)
        figure.supxlabel("Optimiser steps", fontsize=10)
        figure.supylabel("Loss, nats", fontsize=10)
        svg = _render_svg(figure)
    values = "; ".join(f"{one.step}: {_describe_curve(one.curve)}" for one in trained)
    title = "Loss while training"
    return Picture("loss-curves", title, f"{title}. {values}.", svg)


def _describe_curve(curve: Sequence[LossPoint]) -> str:
    return ", ".join(f"{one.loss:.2f} at step {one.step:,}" for one in (curve[0], curve[-1]))


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
        axes.set_yticks(range(len(points)), [one.title for one, _, _ in points])
        axes.invert_yaxis()
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_xlabel("Average score, %, with 95 % interval")
        svg = _render_svg(figure)
    values = "; ".join(f"{one.title}: {format_percent(centre)} %" for one, centre, _ in points)
    title = "Average score by variant, with 95 % intervals"
    return Picture("score-by-variant", title, f"{title}. {values}.", svg)
