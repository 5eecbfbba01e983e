"""A recipe as rows to print, and as YAML to save, edit and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.config.recipe import Recipe
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.steps.base import TEACHER
from harness.units import format_count


@dataclass(frozen=True)
class RecipeRow:
    """A line of ``harness recipe show``: a step, the model after it, and the change in parameters."""

    id: str
    description: str
    shape: Shape
    parameters: int
    delta: int


def show(recipe: Recipe, shape: Shape, scale: Scale) -> list[RecipeRow]:
    """Return the teacher's row and one for each step, parameters counted from the shapes alone.

    Invariants: the deltas add up to the last row's parameters less the teacher's.
    """
    rows = [RecipeRow(TEACHER, f"{shape.family}, {shape.layers} layers", shape, shape.num_parameters, 0)]
    for planned in resolve(recipe, scale, shape):
        number = planned.shape.num_parameters
        delta = number - rows[-1].parameters
        rows.append(RecipeRow(planned.id, planned.step.describe(), planned.shape, number, delta))
    return rows


def to_yaml(recipe: Recipe, rows: Sequence[RecipeRow] = ()) -> str:
    """Return the recipe as a file's text; `rows` from `show` become comments with the parameters.

    Invariants: the text, saved and loaded, is the same recipe but for its name.
    """
    parameters = {row.id: f"  # {format_count(row.parameters)} parameters" for row in rows}
    head: dict[str, Any] = {"source": recipe.source, "teacher": recipe.teacher}
    languages = {"source_language": recipe.source_language, "task_language": recipe.task_language}
    head |= {name: language for name, language in languages.items() if language}
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
