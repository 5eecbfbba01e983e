"""The table of the steps that are timed in both revisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import unknown

Step = Callable[[], object]


@dataclass(frozen=True)
class Entry:
    """A step of one level.

    Attributes:
        level: ``ops``, ``encoders`` or ``stages``.
        name: name of the step, without its level.
        make: make the step, given the folder of the small models.
    """

    level: str
    name: str
    make: Callable[[Path], Step]

    @property
    def full_name(self) -> str:
        """The name with its level."""
        return f"{self.level}: {self.name}"


def _op(name: str) -> Entry:
    def make(_: Path) -> Step:
        from benchmarks.ops import cases  # noqa: PLC0415

        shape, dtype = next((shape, dtype) for op, shape, dtype in cases.SHAPES["cpu"]["small"] if op == name)
        return cases.BUILDERS[name](shape, dtype, "cpu").variants["harness"]

    return Entry("ops", name, make)


def _encoder(role: str, runtime: str, scenario: str) -> Entry:
    def make(folder: Path) -> Step:
        from benchmarks.regression import scenarios  # noqa: PLC0415

        step: Step = getattr(scenarios, scenario)(folder / role, runtime)
        return step

    return Entry("encoders", f"{role}, {runtime}, {scenario.replace('_', ' ')}", make)


def _stage(name: str) -> Entry:
    def make(folder: Path) -> Step:
        from benchmarks.regression import stages  # noqa: PLC0415

        step: Step = getattr(stages, name)(folder)
        return step

    return Entry("stages", name, make)


OPS = (
    "distillation_loss",
    "linear_distillation_loss",
    "linear_mse_logits_loss",
    "hidden_state_loss",
    "linear_gelu_linear",
)
STAGES = ("corpus", "adapt", "distill", "prune", "tune")

ENTRIES = (
    *(_op(name) for name in OPS),
    _encoder("student", "torch", "offline"),
    _encoder("student", "onnx", "single_texts"),
    _encoder("student", "onnx", "offline"),
    _encoder("student", "onnx int8", "single_texts"),
    *(_stage(name) for name in STAGES),
)
"""A step's module is imported when the step is made: a revision that lacks one step runs the others."""


def find_entry(full_name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        UsageError: there is no such entry; lists the names.
    """
    entries = {entry.full_name: entry for entry in ENTRIES}
    if full_name not in entries:
        raise unknown("benchmark", full_name, entries)
    return entries[full_name]
