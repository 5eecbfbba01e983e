"""A recipe as rows to print and as YAML to save, edit and run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.config.recipe import Recipe
from harness.config.resolve import TEACHER, ResolvedStep, resolve
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.units import format_count


@dataclass(frozen=True)
class Row:
    """One line of ``harness recipe show``: a step and the model after it; `delta` is what it took away."""

    id: str
    what: str
    shape: Shape
    parameters: int
    delta: int


def show(recipe: Recipe, shape: Shape, scale: Scale) -> list[Row]:
    """Gives the teacher's row and one for each step, parameters counted from the shapes alone.

    What holds: the deltas add up to the last row's parameters less the teacher's.
    """
    rows = [Row(TEACHER, f"{shape.family}, {shape.layers} layers", shape, shape.num_parameters, 0)]
    for step in resolve(recipe, scale, shape):
        number = step.shape.num_parameters
        rows.append(Row(step.id, describe(step), step.shape, number, number - rows[-1].parameters))
    return rows


def describe(step: ResolvedStep) -> str:
    """Gives what a step does, in a few words with its numbers."""
    return _DESCRIPTIONS[step.kind](step.config)


def _describe_loss(config: dict[str, Any]) -> str:
    total = sum(config["loss"].values())
    terms = _terms(config["loss"])
    terms += "" if abs(total - 1) < 1e-9 else f" (weights sum to {total:g})"
    return f"from {config['teacher']}: {terms}, {_describe_amount(config)}"


def _terms(loss: dict[str, float]) -> str:
    return " + ".join(f"{weight:g}·{name}" for name, weight in loss.items())


def _describe_tune(config: dict[str, Any]) -> str:
    start = ", begun as its layers" if config["start"] == "tuned" else ""
    sparse = f", {config['density']:g} of the weights" if config["method"] == "sft" else ""
    return f"each task from {config['teacher']} tuned on it: {_terms(config['loss'])}{start}{sparse}"


def _describe_amount(config: dict[str, Any]) -> str:
    if "tokens" in config:
        return f"{format_count(config['tokens'])} tokens"
    return f"{config['epochs']} epochs"


def _describe_blank(config: dict[str, Any]) -> str:
    shape = config["shape"]
    how = "random weights" if config["embeddings"] == "random" else "random weights but for the embeddings"
    return f"{shape['layers']} layers of {shape['hidden']}, {how}"


def _describe_narrow(config: dict[str, Any]) -> str:
    what = f"hidden {config['hidden']} by {config['basis']}, {config['heads']} heads {config['heads_mode']}"
    what += " by svd" if config.get("within") == "svd" else ""
    return what + (", refitted" if config.get("refit") else "")


_DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "adapt": lambda config: f"MLM, {_describe_amount(config)}",
    "blank": _describe_blank,
    "shorten": lambda config: f"layers {', '.join(map(str, config['layers']))}",
    "distill": _describe_loss,
    "prune": lambda config: f"FFN {config['ffn']} by {config['score']}",
    "narrow": _describe_narrow,
    "trim": lambda config: f"{format_count(config['vocabulary'])} tokens kept",
    "tune": _describe_tune,
}


def to_yaml(recipe: Recipe, rows: Sequence[Row] = ()) -> str:
    """Gives the recipe as a file's text; `rows` from `show` become comments with the parameters.

    What holds: the text, saved and loaded, is the same recipe but for its name.
    """
    parameters = {row.id: f"  # {format_count(row.parameters)} parameters" for row in rows}
    head: dict[str, Any] = {"source": recipe.source, "teacher": recipe.teacher}
    if recipe.source_language:
        head["source_language"] = recipe.source_language
    if recipe.notes:
        head["notes"] = list(recipe.notes)
    lines = [_dump(head), "steps:\n"]
    for step in recipe.steps:
        body = _dump(step.values, flow=True).strip()
        lines.append(f"  - {step.kind}: {body}{parameters.get(step.id, '')}\n")
    if recipe.variants:
        lines.append(_dump({"variants": recipe.variants}))
    return "".join(lines)


def _dump(value: Any, *, flow: bool = False) -> str:
    width = 100_000 if flow else 110
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)
