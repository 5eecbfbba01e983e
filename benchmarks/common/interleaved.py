"""Time the variants of a group in the same rounds: ops, encoders or stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from harness.measure.latency import Samples, interleave, ratio, speedup

Step = Callable[[], object]
NEEDED_FRACTION = 0.99
"""Share of the reference's accuracy that a variant must reach (MLPerf Inference's rule)."""


@runtime_checkable
class ScoredStep(Protocol):
    """A step whose answers are right or wrong."""

    def accuracy(self) -> float | None:
        """Return the share of right answers."""


@dataclass(frozen=True)
class Group:
    """Variants that are timed together.

    Attributes:
        name: name of the group, with its level.
        make: return the steps by name of variant; the others are compared with the first.
        work: amount of work in a call, by variant; under ``""`` the amount for all other variants.
        unit: unit of the work.
        references: by variant, the variant whose accuracy it must reach.
    """

    name: str
    make: Callable[[], Mapping[str, Step]]
    work: Mapping[str, int] = field(default_factory=dict)
    unit: str = "calls"
    references: Mapping[str, str] = field(default_factory=dict)

    def count_work(self, variant: str) -> int:
        """Return the amount of work in a call of a variant."""
        return self.work.get(variant, self.work.get("", 1))


@dataclass(frozen=True)
class Measured:
    """Timings of a group.

    Attributes:
        name: name of the group.
        unit: unit of its work.
        samples: times of every round, by variant.
        facts: by variant: ``p50_ms``, ``p90_ms``, ``p99_ms``, ``per_s`` (work a second, by the median),
            ``ratio_to_first`` (value, low, high), ``accuracy``, ``valid`` (whether the accuracy is high
            enough; None for steps without answers).
    """

    name: str
    unit: str
    samples: Mapping[str, Samples]
    facts: Mapping[str, Mapping[str, Any]]


Replay = Callable[[Group, str], Measured]
"""The fixture ``replay``: measures a group once, and reports one of its variants to pytest-benchmark."""


def is_accurate(accuracy: float | None, reference: float | None) -> bool:
    """Return whether an accuracy is high enough for the speed of its variant to count."""
    return accuracy is not None and reference is not None and accuracy >= NEEDED_FRACTION * reference


def measure(group: Group, *, budget_s: float, warmup_s: float = 0.1, min_rounds: int = 7) -> Measured:
    """Time a group's variants, interleaved."""
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
            "per_s": 1e3 * group.count_work(name) / samples.median_ms,
            "ratio_to_first": (gain.value, gain.low, gain.high),
            "accuracy": right.get(name),
            "valid": is_accurate(right[name], right[group.references.get(name, name)])
            if name in right
            else None,
        }
    return Measured(group.name, group.unit, taken, facts)


def _accuracies(steps: Mapping[str, object]) -> dict[str, float | None]:
    return {name: step.accuracy() for name, step in steps.items() if isinstance(step, ScoredStep)}


def draw_table(measured: Measured) -> list[str]:
    """Return the timings of a group as a Markdown table."""
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
        gain_cell = "–" if gain is None else f"{gain:.2f}x ({low:.2f}–{high:.2f})"
        percentiles = " | ".join(f"{facts[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms"))
        cells = (name, percentiles, f"{facts['per_s']:,.0f}", gain_cell, _format_accuracy(facts))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _format_accuracy(facts: Mapping[str, Any]) -> str:
    if facts["accuracy"] is None:
        return "–"
    return f"{100 * facts['accuracy']:.1f} %" + (
        "" if facts["valid"] else ", too low: its speed does not count"
    )
