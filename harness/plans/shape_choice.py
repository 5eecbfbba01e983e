"""Choose the shapes of students that fit a budget, and write the recipe that makes one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from harness.config.export_size import count_file_bytes
from harness.config.file_budget import FileBudget
from harness.config.load import load_recipe, vary
from harness.config.recipe import Recipe
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, Shape
from harness.config.shape_cost import LARGEST_VOCABULARY, predict_cost
from harness.errors import UsageError

MOST_PROPOSALS = 10
_STEPS = 12
"""Widths of the FFN are multiples of this part of the teacher's."""
_VOCABULARIES = (2048, 4096, 6144, 8192, 12288, LARGEST_VOCABULARY)
BASE = "compact2026"
"""The recipe whose steps make any shape."""
_STEP_SIZES = {
    "trim": ("tokens", "vocabulary"),
    "shorten": ("layers", "layers"),
    "prune": ("width", "ffn"),
    "narrow": ("width", "hidden"),
}
"""Step → its key, and the size that the key is a share of."""


@dataclass(frozen=True)
class Proposal:
    """A shape with what is predicted of its student.

    Attributes:
        shape: of the student.
        size_bytes: of its file for a text task.
        latency_ms: its median; None where the budget states no latency.
        cost: the proxy by which shapes are ranked; 0 for the teacher's own.
    """

    shape: Shape
    size_bytes: int
    latency_ms: float | None
    cost: float

    def __str__(self) -> str:
        shape = self.shape
        latency = "" if self.latency_ms is None else f", {self.latency_ms:.2f} ms"
        layers = f"{shape.layers} layer{'s' * (shape.layers > 1)} of {shape.hidden}"
        size = f"{self.size_bytes / 1e6:.2f} MB{latency}"
        return f"{layers}, FFN {shape.ffn}, {shape.vocabulary:,} tokens ({size})"


def propose_shapes(
    teacher: Shape, budget: FileBudget, predict_ms: Callable[[Shape], float] | None = None
) -> list[Proposal]:
    """Return the shapes of the least cost that fit, at most ten, none of equal layers and width.

    Args:
        teacher: no size is larger than its; heads stay as wide as its.
        budget: the limits.
        predict_ms: returns the latency of a shape; None where the budget states none.

    Raises:
        UsageError: nothing fits (the message has the nearest shape), or the family's files are not counted.
    """
    if teacher.distances:
        raise UsageError(
            f"plan: expected a teacher whose exported size is counted; got {teacher.family}, whose relative "
            "positions are not; take one of another family"
        )
    best: dict[tuple[int, int], Proposal] = {}
    nearest: tuple[float, Proposal] | None = None
    for shape in _list_shapes(teacher):
        latency_ms = None if predict_ms is None else predict_ms(shape)
        size_bytes = count_file_bytes(shape, budget.precision)
        one = Proposal(shape, size_bytes, latency_ms, predict_cost(shape, teacher))
        excess = _measure_excess(one, budget)
        if nearest is None or excess < nearest[0]:
            nearest = excess, one
        place = shape.layers, shape.hidden
        if excess <= 1 and (place not in best or _rank(one) < _rank(best[place])):
            best[place] = one
    if not best and nearest is not None:
        raise UsageError(
            f"plan: expected a student of at most {budget}; got none; the nearest is "
            f"{nearest[1]}; raise the budget"
        )
    return sorted(best.values(), key=_rank)[:MOST_PROPOSALS]


def _list_shapes(teacher: Shape) -> Iterator[Shape]:
    known = [number for number in _VOCABULARIES if number < teacher.vocabulary]
    vocabularies = known if LARGEST_VOCABULARY in known else [*known, teacher.vocabulary]
    neurons = sorted({max(1, round(teacher.ffn * part / _STEPS)) for part in range(1, _STEPS + 1)})
    for layers in range(1, teacher.layers + 1):
        for heads in range(1, teacher.heads + 1):
            sizes = {"layers": layers, "heads": heads, "hidden": heads * teacher.head_size}
            if sizes["hidden"] == teacher.embedding:
                continue
            for ffn in neurons:
                for vocabulary in vocabularies:
                    yield teacher.model_copy(update={**sizes, "ffn": ffn, "vocabulary": vocabulary})


def _measure_excess(one: Proposal, budget: FileBudget) -> float:
    """Return how many times the limits a proposal takes, by the limit that it exceeds most."""
    size = one.size_bytes / budget.size_bytes if budget.size_bytes else 0.0
    return max(size, (one.latency_ms or 0.0) / budget.latency_ms if budget.latency_ms else 0.0)


def _rank(one: Proposal) -> tuple[float, int]:
    return one.cost, one.size_bytes


def make_recipe(base: Recipe, teacher: Shape, student: Shape, scale: Scale, note: str) -> Recipe:
    """Return a recipe whose steps make a shape of a teacher: those of ``base``, with these sizes.

    A step that would change nothing, and that no distillation learns from, is left out. Where ``base`` lacks
    a step that the shape needs, the steps are those of compact2026. The note replaces the recipe's notes, and
    the recipe names the known teacher of this shape, where there is one.

    Raises:
        UsageError: the steps do not fit the teacher.
    """
    changed = {kind for kind, (_, size) in _STEP_SIZES.items() if student.sizes[size] != teacher.sizes[size]}
    kinds = [step.kind for step in base.steps]
    if not all(kinds.count(kind) == 1 for kind in changed) or "blank" in kinds:
        base = load_recipe(BASE)
    steps = list(_keep_steps(base, changed))
    changes: dict[str, Any] = {
        f"{kind}.{key}": f"{student.sizes[size]}/{teacher.sizes[size]}"
        for kind, (key, size) in _STEP_SIZES.items()
        if kind in steps
    }
    if "narrow" in changed:
        changes |= {"narrow.heads": "dropped", "narrow.within": None}
    varied = vary("plan", base, {"steps": steps, **changes})
    known = (name for name, one in KNOWN_TEACHERS.items() if one.shape == teacher)
    named = {"teacher": next(known, base.teacher), "variants": {}, "notes": (note,)}
    recipe = varied.model_copy(update=named)
    made = resolve(recipe, scale, teacher)[-1].shape
    if made != student:
        raise UsageError(f"plan: expected steps that make {student.sizes}; got {made.sizes}; name --recipe")
    return recipe


def _keep_steps(base: Recipe, changed: Collection[str]) -> Iterator[str]:
    """Yield the ids of the steps to keep: no second distillation where no width is cut after the first."""
    teachers = {step.values.get("teacher") for step in base.steps}
    for step in base.steps:
        unneeded = step.kind in _STEP_SIZES and step.kind not in changed and step.id not in teachers
        if not unneeded and not (step.id == "distill-2" and not {"prune", "narrow"}.intersection(changed)):
            yield step.id
