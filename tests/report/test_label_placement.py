"""Labels of figures cover no other label and no marker, and none is cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from harness.report import plots
from harness.report.label_placement import Box, Label, place_labels
from harness.report.results import read_results

RECORDS = Path(__file__).parents[2] / "benchmarks/records"
AREA = Box(0, 0, 400, 300)


def measure_labels(name: str, monkeypatch: pytest.MonkeyPatch):
    """Return the extents of the labels of a record's figure, and of its axes."""
    drawn = []
    draw = plots._draw_points
    monkeypatch.setattr(plots, "_draw_points", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    plots.draw_score_by_size(read_results(next(RECORDS.glob(name))))
    (figure, texts) = drawn[0]
    extents = [text.get_window_extent() for text in texts]
    boxes = [Box(one.x0, one.y0, one.width, one.height) for one in extents]
    whole = figure.axes[0].get_window_extent()
    return [text.get_text() for text in texts], boxes, Box(whole.x0, whole.y0, whole.width, whole.height)


@pytest.mark.parametrize(
    "name", ["ha-gurgurov2025-small-folder_*.json", "mt-gurgurov2025-mini_*.json", "mt-compare-mini_*.json"]
)
def test_labels_of_a_record_neither_overlap_nor_are_cut(name, monkeypatch):
    names, boxes, axes = measure_labels(name, monkeypatch)
    assert len(names) > 10
    pairs = itertools.combinations(zip(names, boxes, strict=True), 2)
    assert [(one, other) for (one, a), (other, b) in pairs if a.intersects(b)] == []
    assert [name for name, box in zip(names, boxes, strict=True) if not axes.contains(box)] == []


def test_labels_of_one_place_go_to_different_sides():
    labels = [Label(200, 150, 80, 12) for _ in range(8)]
    marker = Box(196, 146, 8, 8)
    boxes = place_labels(labels, AREA, [marker], [])
    assert not any(one.intersects(other) for one, other in itertools.combinations([*boxes, marker], 2))
    assert all(AREA.contains(box) for box in boxes)


def test_label_at_the_edge_is_not_cut():
    (box,) = place_labels([Label(399, 299, 120, 12)], AREA, [Box(395, 295, 8, 8)], [])
    assert AREA.contains(box)


def test_label_of_a_line_is_next_to_the_line():
    (box,) = place_labels([Label(0, 100, 80, 12, along=True)], AREA, [], [])
    assert 100 < box.bottom < 110
    assert box.left + box.width > 390


def test_label_without_a_place_is_placed_all_the_same():
    (box,) = place_labels([Label(200, 150, 500, 12)], AREA, [], [])
    assert (box.left, box.bottom) == (0, 0)
