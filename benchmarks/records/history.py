"""Draw the records of `make bench` over time: one picture a machine.

    python -m benchmarks.records history [benchmarks/records] [--out FOLDER]

Times of different runs are not compared. The pictures show how many times as fast a variant was as the first
of its group, within its own run, with the interval; and the counts.
"""

from __future__ import annotations

import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.common.paths import RECORDS, ROOT
from benchmarks.common.programs import make_parser
from harness.errors import HarnessError

_COUNTED = ("parameters of student", "bytes of student", "operators of student", "FLOPs of")
_COLUMNS, _WIDTH, _HEIGHT = 3, 4.0, 2.6
_STYLE = {"svg.hashsalt": "history", "font.size": 8, "legend.fontsize": 6}


@dataclass(frozen=True)
class Point:
    """One value of one record: the value and its bounds, which are the value itself for a count."""

    commit: str
    value: float
    low: float
    high: float


Panels = dict[str, dict[str, list[Point]]]
"""By title of a panel and name of a line: its points, the oldest first."""


def read_records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of `make bench` in a folder by machine, the oldest first.

    Raises:
        HarnessError: there is none.
    """
    machines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("bench_*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        machines[path.name.split("_")[1]].append(record)
    if not machines:
        raise HarnessError(f"history: expected records of `make bench` in '{folder}'; got none; run it first")
    return {
        machine: sorted(records, key=lambda one: str(one["environment"]["at"]))
        for machine, records in machines.items()
    }


def collect_panels(records: Sequence[Mapping[str, Any]]) -> Panels:
    """Return the panels of one machine."""
    panels: Panels = defaultdict(lambda: defaultdict(list))
    for record in records:
        commit = str(record["environment"]["commit"])[:7]
        for title, line, point in _collect_points(record, commit):
            panels[title][line].append(point)
    return {title: dict(lines) for title, lines in panels.items()}


def _collect_points(record: Mapping[str, Any], commit: str) -> Iterator[tuple[str, str, Point]]:
    for group in record["groups"]:
        first = next(iter(group["facts"]))
        for variant, facts in group["facts"].items():
            if variant != first:
                title = f"{group['name']}: × as fast as {first}"
                yield title, variant, Point(commit, *facts["ratio_to_first"])
    for name, value in record.get("counts", {}).items():
        for kind in _COUNTED:
            if name.startswith(kind) and (kind != "operators of student" or name.endswith(".onnx")):
                yield (
                    kind.removesuffix(" of"),
                    name.removeprefix(kind).strip("/, "),
                    Point(commit, *[value] * 3),
                )


def draw_picture(panels: Panels, title: str) -> bytes:
    """Return the picture as SVG; equal records make equal bytes."""
    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_COLUMNS * _WIDTH, rows * _HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        figure.suptitle(title)
        for place, (name, lines) in enumerate(panels.items(), 1):
            _draw_panel(figure.add_subplot(rows, _COLUMNS, place), name, lines)
        target = io.BytesIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return target.getvalue()


def _draw_panel(axes: Axes, title: str, lines: Mapping[str, Sequence[Point]]) -> None:
    order = list(dict.fromkeys(point.commit for points in lines.values() for point in points))
    for name, points in lines.items():
        x = [order.index(point.commit) for point in points]
        off = [[one.value - one.low for one in points], [one.high - one.value for one in points]]
        off = [[max(0.0, one) for one in side] for side in off]
        axes.errorbar(x, [one.value for one in points], yerr=off, marker="o", markersize=3, label=name)
    axes.set_title(title)
    axes.set_xticks(range(len(order)), order, rotation=45)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend()


def main(given: Sequence[str] | None = None) -> int:
    """Write ``history_<machine>.svg`` for every machine; print a fault in one line, with exit code 2."""
    parser = make_parser("benchmarks.records history", __doc__)
    parser.add_argument("records", type=Path, nargs="?", default=RECORDS)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "history")
    asked = parser.parse_args(given)
    try:
        machines = read_records(asked.records)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    for machine, records in machines.items():
        path = asked.out / f"history_{machine}.svg"
        path.write_bytes(draw_picture(collect_panels(records), f"{machine}, {len(records)} records"))
        print(f"written: {path}")
    return 0
