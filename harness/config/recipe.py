"""A recipe is the ordered list of steps: the method of one published system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from harness.config.shape import KNOWN_TEACHERS
from harness.config.steps import KINDS
from harness.config.steps.base import Step
from harness.config.values import Strict, describe_unknown, refusal
from harness.families import FAMILIES, TEACHERS


class WrittenStep(Strict):
    """A step as the file has it: a value may still be written per family."""

    id: str
    kind: str
    values: dict[str, Any]


class Recipe(Strict):
    """One published system, with one variant applied; `harness.config.load.load_recipe` makes it.

    With `source_language` the steps see as much text of that language as of the run's own. With
    `task_language` every model learns its tasks from that language's training and dev parts, and is scored on
    the test parts of the run's own.
    """

    name: str
    source: str
    teacher: str
    source_language: str | None = None
    task_language: str | None = None
    notes: tuple[str, ...] = ()
    steps: tuple[WrittenStep, ...]
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("teacher")
    @classmethod
    def _check_teacher(cls, value: str) -> str:
        if value not in KNOWN_TEACHERS:
            raise refusal(describe_unknown("teacher", value, KNOWN_TEACHERS))
        return value

    @field_validator("notes", mode="before")
    @classmethod
    def _read_notes(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def build_step(step: WrittenStep, family: str) -> Step:
    """Check a written step against its kind's schema, with the values of one model family."""
    values = {key: _choose_value(value, family) for key, value in step.values.items()}
    return KINDS[step.kind].model_validate(values)


def _choose_value(value: Any, family: str) -> Any:
    """Return a per-family value's entry for the family, or for its relative; any other value as it is."""
    if not isinstance(value, Mapping) or not value or not set(value) & set(TEACHERS):
        return value
    for name in value:
        if name not in TEACHERS:
            raise refusal(describe_unknown("model family", name, TEACHERS))
    for name in (family, FAMILIES[family].values_of):
        if name in value:
            return value[name]
    raise refusal(f"states no value for the model family '{family}'; it has: {', '.join(value)}")
