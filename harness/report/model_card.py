"""The README of an exported model: its task, the file to choose, the measurements, and its origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.precisions import FP32
from harness.report.card_data import list_scores, render_head
from harness.report.templates import load_templates
from harness.tasks import HEADS


def render_model_card(record: Mapping[str, Any]) -> str:
    """Return the card of an export from its record (``export.json``).

    Invariants: every number is in the record; the card says "not stated" where the record has no entry.
    """
    templates = load_templates()
    templates.filters["speed"] = _format_speed
    record = {"problem": None, "meaning": None} | dict(record)  # older records have neither
    files = record["files"]
    chosen = next(row for row in files if row["precision"] == record["default"])
    return templates.get_template("model_card.md.j2").render(
        **record,
        head=_render_head(record, chosen),
        named=_list_names(record),
        pipeline=HEADS[record["task"]].pipeline,
        metrics=list(next((row["scores"] for row in files if row["scores"]), {})),
        chosen=chosen,
    )


def _render_head(record: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """Return the head of the card; the scores are those of the file to take."""
    in_browser = record["layout"] == "transformers.js"
    teacher, data = record["lineage"]["teacher"] or {}, record["lineage"]["data"]
    scores = {metric: float(one["value"]) for metric, one in (chosen["scores"] or {}).items()}
    return render_head(
        name=record["name"],
        language=record["language"],
        licence=record["licence"],
        library="transformers.js" if in_browser else "onnx",
        pipeline=HEADS[record["task"]].pipeline,
        tags=["onnx", "transformers.js"] if in_browser else ["onnx"],
        base_model=teacher["name"] if teacher.get("revision") else None,
        scores=list_scores({record["task"]: scores} if scores else {}, record["language"], data),
    )


def _list_names(record: Mapping[str, Any]) -> list[str]:
    """Return the names of a head's outputs; none for the one number of a regression."""
    labels = record["labels"]
    return [] if record["problem"] == "regression" and len(labels) == 1 else list(labels)


def _format_speed(row: Mapping[str, Any]) -> str:
    """Print how many times as fast as fp32 a file is; no number where the interval contains 1."""
    speed = row["speed_ratio"]
    if row["precision"] == FP32:
        return "–"
    if speed["low"] <= 1 <= speed["high"]:
        return "no significant difference"
    return f"{speed['value']:.2f}× ({speed['low']:.2f}–{speed['high']:.2f})"
