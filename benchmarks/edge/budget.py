"""Check the proposals of `harness plan --budget`: export each, time all in turns, compare the predictions.

    python -m benchmarks.edge budget --record benchmarks/records       # on a quiet machine

A prediction holds where the measured median is within 10 % of it, and the file's size within 2 %. Weights are
random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from harness.api.student_shapes import ShapeChoice, choose_shapes
from harness.deploy.student_timing import TimedStudent, time_students

MOST_LATENCY_ERROR, MOST_SIZE_ERROR = 0.10, 0.02


def compare(choice: ShapeChoice, timed: Sequence[TimedStudent]) -> list[dict[str, Any]]:
    """Return each proposal with what was measured, and the measured value above the predicted one."""
    rows = []
    for one, measured in zip(choice.proposals, timed, strict=True):
        latency_ms = one.latency_ms or float("nan")
        rows.append(
            {
                "shape": one.shape.model_dump(),
                "predicted": {"size_bytes": one.size_bytes, "p50_ms": latency_ms},
                "measured": asdict(measured),
                "size_error": measured.size_bytes / one.size_bytes - 1,
                "latency_error": measured.p50_ms / latency_ms - 1,
            }
        )
    return rows


def draw_table(budget: str, rows: Sequence[dict[str, Any]], choice: ShapeChoice) -> list[str]:
    """Return a row for each proposal, and how many predictions hold."""
    lines = [
        f"## {budget}",
        "",
        "| layers | hidden | FFN | vocabulary | MB, predicted | measured | | ms, predicted | measured | |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        sizes = (f"{row['shape'][name]:,}" for name in ("layers", "hidden", "ffn", "vocabulary"))
        megabytes = (f"{row[way]['size_bytes'] / 1e6:.2f}" for way in ("predicted", "measured"))
        latencies = (f"{row[way]['p50_ms']:.2f}" for way in ("predicted", "measured"))
        cells = [*sizes, *megabytes, f"{row['size_error']:+.1%}", *latencies, f"{row['latency_error']:+.1%}"]
        lines.append(f"| {' | '.join(cells)} |")
    assert choice.table is not None, "every budget here states a latency"
    timed = {(one.layers, one.hidden, one.ffn) for one in choice.table.shapes}
    unseen = sum((one.shape.layers, one.shape.hidden, one.shape.ffn) not in timed for one in choice.proposals)
    near = sum(abs(row["latency_error"]) <= MOST_LATENCY_ERROR for row in rows)
    exact = sum(abs(row["size_error"]) <= MOST_SIZE_ERROR for row in rows)
    return [
        *lines,
        "",
        f"- p50 within {MOST_LATENCY_ERROR:.0%}: {near} of {len(rows)}; "
        f"size within {MOST_SIZE_ERROR:.0%}: {exact} of {len(rows)}",
        f"- {len(timed)} students in the latency table, {unseen} of {len(rows)} proposals not among them; "
        f"a student of the table is predicted within {choice.table.model.worst_error:.1%} without it",
        "",
    ]


def main(given: Sequence[str] | None = None) -> int:
    """Choose, export and time; print the tables and write the record."""
    parser = make_parser("benchmarks.edge budget", __doc__)
    parser.add_argument("--budgets", nargs="+", default=["6 MB int8, 3 ms", "20 MB fp32, 5 ms"])
    parser.add_argument("--scale", default="laptop", help="its teacher is cut, its longest row timed")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    numbers, lines = [], []
    for budget in asked.budgets:
        choice = choose_shapes(budget, scale=asked.scale)
        rows = compare(choice, time_students([one.shape for one in choice.proposals], choice.setting))
        numbers.append({"budget": budget, **vars(choice.setting), "proposals": rows})
        lines += draw_table(budget, rows, choice)
        print("\n".join(lines[-len(rows) - 8 :]), flush=True)
    if asked.record:
        content = {"weights": "random", "budgets": numbers}
        print(write_record(asked.record, "budget", describe_environment("cpu"), content, lines))
    return 0
