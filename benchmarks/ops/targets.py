"""What each op must reach, whether it did, and where the time of one that did not goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch.profiler import ProfilerActivity, profile

from harness.measure.interval import Interval
from harness.measure.latency import Samples, ratio
from harness.units import format_bytes

_SHOWN_OPERATORS = 6


class Measured(Protocol):
    """The fields of a benchmark's row that a target looks at."""

    @property
    def op(self) -> str:
        """Name of the op."""

    @property
    def shape(self) -> Mapping[str, int]:
        """Sizes by letter."""

    @property
    def dtype(self) -> str:
        """Type of the inputs."""

    @property
    def variant(self) -> str:
        """Name of the variant."""

    @property
    def peak_bytes(self) -> int | None:
        """Memory that a step adds."""

    @property
    def results_bytes(self) -> int:
        """Size of the loss and the gradients."""


@dataclass(frozen=True)
class Target:
    """What one variant of one case must reach.

    Attributes:
        op: its name.
        shape: its sizes, by letter.
        dtype: of its inputs.
        variant: ours.
        faster: how many times as fast as another variant, by its name.
        results: most memory a step may add, in sizes of its results.
        workspace: most memory beside the results, as a share of eager's.
    """

    op: str
    shape: Mapping[str, int]
    dtype: str
    variant: str
    faster: Mapping[str, float] = field(default_factory=dict)
    results: float | None = None
    workspace: float | None = None


_LOGITS = {"N": 512, "V": 119547}
_HIDDEN = {"N": 512, "V": 119547, "D": 768}
_FFN = {"N": 2048, "D": 768, "F": 3072}

TARGETS = (
    Target(
        "distillation_loss",
        _LOGITS,
        "float32",
        "harness",
        {"eager": 8, "compile": 4, "liger pattern": 4},
        1.0,
    ),
    Target("distillation_loss", _LOGITS, "float32", "harness in place", {"eager": 10}, 0.0),
    Target(
        "linear_distillation_loss",
        _HIDDEN,
        "float32",
        "harness",
        {"eager": 1.5, "compile": 1.3, "liger pattern": 1.5},
        workspace=1 / 7,
    ),
    Target(
        "linear_distillation_loss",
        _HIDDEN,
        "bfloat16",
        "harness",
        {"eager": 1.3, "compile": 1.1},
        workspace=1 / 7,
    ),
    Target(
        "linear_mse_logits_loss",
        {"N": 2048, "V": 40000, "D": 768},
        "float32",
        "harness",
        {"eager": 2, "compile": 2},
    ),
    Target(
        "linear_mse_logits_loss",
        {"N": 4096, "V": 40000, "D": 768},
        "float32",
        "harness",
        {"eager": 4, "compile": 4},
    ),
    Target("linear_gelu_linear", _FFN, "float32", "harness", {"eager": 1.07, "compile": 1.05}),
)
"""The CPU's; a GPU's are in the same form where one was measured."""

SLACK = 0.05  # of the results: what a page's rounding and the allocator add


def verdicts(
    rows: Sequence[Measured], taken: Mapping[str, Samples], variants: Mapping[str, Callable[[], Any]]
) -> list[str]:
    """Says of each target of a case whether it was reached, and explains one that was not by a profile."""
    lines = []
    for target in TARGETS:
        found = [
            one for one in rows if (one.op, one.shape, one.dtype) == (target.op, target.shape, target.dtype)
        ]
        ours = next((one for one in found if one.variant == target.variant), None)
        if ours is None:
            continue
        missed = []
        for rival, wanted in target.faster.items():
            gain = ratio(taken[rival], taken[target.variant])
            missed += [] if gain.value >= wanted else [rival]
            told = (
                f"{gain.value:.2f}x ({gain.low:.2f}–{gain.high:.2f}) as fast as {rival}, wanted ≥ {wanted:g}x"
            )
            lines.append(f"- {target.variant}: {told}: {_speed_word(gain, wanted)}")
        eager = next(one for one in found if one.variant == "eager")
        lines += [f"- {target.variant}: {told}" for told in _memory(target, ours, eager)]
        if missed:
            lines += ["", *_explained([target.variant, *missed], variants)]
    return [*lines, ""] if lines else []


def _memory(target: Target, ours: Measured, eager: Measured) -> list[str]:
    """Says whether the memory a step adds is within the target; nothing where the system does not tell."""
    if ours.peak_bytes is None or eager.peak_bytes is None:
        return []
    lines = []
    if target.results is not None:
        most = (target.results + SLACK) * ours.results_bytes
        told = f"{format_bytes(ours.peak_bytes)} added, wanted ≤ {target.results:g} of the results"
        lines.append(f"{told} ({format_bytes(ours.results_bytes)}): {_word(ours.peak_bytes <= most)}")
    if target.workspace is not None:
        own = max(0, ours.peak_bytes - ours.results_bytes)
        its = max(1, eager.peak_bytes - eager.results_bytes)
        told = f"{format_bytes(own)} beside the results, {own / its:.2f} of eager's"
        lines.append(f"{told}, wanted ≤ {target.workspace:.2f}: {_word(own <= target.workspace * its)}")
    return lines


def _speed_word(gain: Interval, wanted: float) -> str:
    """Says *reached* only where the whole interval is."""
    if gain.low >= wanted:
        return "reached"
    return "missed" if gain.value < wanted else "reached, but not surely: the interval holds less"


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def _explained(names: Sequence[str], variants: Mapping[str, Callable[[], Any]]) -> list[str]:
    """Gives, for each variant, the operators that take its time, and how much."""
    lines = ["| variant | operators by their own time |", "|---|---|"]
    for name in names:
        shares = profile_of(variants[name])
        told = ", ".join(f"{operator} {ms:.1f} ms" for operator, ms in shares[:_SHOWN_OPERATORS])
        lines.append(f"| {name} | {told} |")
    return lines


def profile_of(variant: Callable[[], Any]) -> list[tuple[str, float]]:
    """Gives the operators of one step with the milliseconds each took itself, the longest first."""
    variant()
    with profile(activities=[ProfilerActivity.CPU]) as taken:
        variant()
    events = [(event.key, event.self_cpu_time_total / 1e3) for event in taken.key_averages()]
    return sorted(events, key=lambda one: -one[1])
