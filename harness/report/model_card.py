"""The README of an exported model: what it is, which file to take, what was measured, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from harness.precisions import FP32
from harness.report.tables import percent
from harness.tasks import HEADS
from harness.units import format_bytes

_HERE = Path(__file__).parent


def model_card(record: Mapping[str, Any]) -> str:
    """Gives the card of an export from its record (``export.json``).

    What holds: every number stands in the record; what is not known is said to be not stated.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"size": format_bytes, "percent": percent, "speed": _speed}
    files = record["files"]
    return made.get_template("model_card.md.j2").render(
        **record,
        pipeline=HEADS[record["task"]].pipeline,
        metrics=list(next((row["scores"] for row in files if row["scores"]), {})),
        chosen=next(row for row in files if row["precision"] == record["default"]),
    )


def _speed(row: Mapping[str, Any]) -> str:
    """Prints how many times as fast as fp32 a file is; nothing where the interval holds 1."""
    told = row["speed_ratio"]
    if row["precision"] == FP32:
        return "–"
    if told["low"] <= 1 <= told["high"]:
        return "no difference shown"
    return f"{told['value']:.2f}× ({told['low']:.2f}–{told['high']:.2f})"
