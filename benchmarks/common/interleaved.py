"""Groups of variants that are timed in the same rounds, at any of the three levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from harness.measure.latency import Samples, interleave, ratio, speedup

Step = Callable[[], object]
NEEDED_FRACTION = 0.99
"""Of the reference's accuracy (MLPerf Inference's rule)."""


@runtime_checkable
class Answering(Protocol):
    """A step whose answers are right or wrong."""

    def accuracy(self) -> float | None:
        """Gives the share of right answers."""


@dataclass(frozen=True)
class Group:
    """What is timed together.

    Attributes:
        name: with the level.
        make: makes the steps, by name of variant; the first is what the others are compared with.
        work: how much a call does, by variant; a number for all that are not named under ``""``.
        unit: of the work.
        references: by variant, the variant whose accuracy its own must reach.
    """

    name: str
    make: Callable[[], Mapping[str, Step]]
    work: Mapping[str, int] = field(default_factory=dict)
    unit: str = "calls"
    references: Mapping[str, str] = field(default_factory=dict)

    def work_of(self, variant: str) -> int:
        """Gives how much a call of a variant does."""
        return self.work.get(variant, self.work.get("", 1))


@dataclass(frozen=True)
class Measured:
    """What a group took.

    Attributes:
        name: of the group.
        unit: of its work.
        samples: every round, by variant.
        facts: by variant: ``p50_ms``, ``p90_ms``, ``p99_ms``, ``per_s`` (work a second, by the median),
            ``ratio_to_first`` (value, low, high), ``accuracy``, ``valid`` (its accuracy is high enough; None
            where nothing is right or wrong).
    """

    name: str
    unit: str
    samples: Mapping[str, Samples]
    facts: Mapping[str, Mapping[str, Any]]


Replay = Callable[[Group, str], Measured]
"""The fixture ``replay``: measures a group once, and reports one of its variants to pytest-benchmark."""


def holds(accuracy: float | None, reference: float | None) -> bool:
    """Says whether a run's accuracy is high enough for its speed to count."""
    return accuracy is not None and reference is not None and accuracy >= NEEDED_FRACTION * reference


def measure(group: Group, *, budget_s: float, warmup_s: float = 0.1, min_rounds: int = 7) -> Measured:
    """Times a group's variants, interleaved."""
    steps = group.make()
    taken = interleave(steps, warmup_s=warmup_s, budget_s=budget_s, min_rounds=min_rounds)
    right = _accuracies(steps)
    first = next(iter(taken.values()))
    facts = {}
    for name, samples in taken.items():
        gain = ratio(first, samples)
        facts[name] = {
            "p50_ms": samples.median_ms,
            "p90_ms": samples.percentile_ms(90),
            "p99_ms": samples.percentile_ms(99),
            "per_s": 1e3 * group.work_of(name) / samples.median_ms,
            "ratio_to_first": (gain.value, gain.low, gain.high),
            "accuracy": right.get(name),
            "valid": holds(right[name], right[group.references.get(name, name)]) if name in right else None,
        }
    return Measured(group.name, group.unit, taken, facts)


def _accuracies(steps: Mapping[str, object]) -> dict[str, float | None]:
    return {name: step.accuracy() for name, step in steps.items() if isinstance(step, Answering)}


def table(measured: Measured) -> list[str]:
    """Gives a group as a Markdown table."""
    first = next(iter(measured.samples))
    lines = [
        f"### {measured.name}",
        "",
        f"| variant | p50 ms | p90 ms | p99 ms | {measured.unit} a second | faster than {first} | accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, facts in measured.facts.items():
        gain = speedup(ratio(measured.samples[first], measured.samples[name]))
        low, high = facts["ratio_to_first"][1:]
        told = "–" if gain is None else f"{gain:.2f}x ({low:.2f}–{high:.2f})"
        percentiles = " | ".join(f"{facts[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms"))
        lines.append(f"| {name} | {percentiles} | {facts['per_s']:,.0f} | {told} | {_accuracy(facts)} |")
    return [*lines, ""]


def _accuracy(facts: Mapping[str, Any]) -> str:
    if facts["accuracy"] is None:
        return "–"
    return f"{100 * facts['accuracy']:.1f} %" + (
        "" if facts["valid"] else ", too low: its speed does not count"
    )
