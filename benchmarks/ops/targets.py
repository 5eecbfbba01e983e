"""The targets of the ops: whether each was reached, and where the time of a variant that missed one goes."""

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
    """Speed and memory that one variant of one case must reach.

    Attributes:
        op: name of the op.
        shape: sizes by letter.
        dtype: type of the inputs.
        variant: name of the variant.
        faster: how many times as fast as other variants, by name.
        results: most memory a step may add, in sizes of its results.
        workspace: most memory in addition to the results, as a share of eager's.
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
"""Targets on the CPU."""

SLACK = 0.05  # share of the results that rounding to pages and the allocator add


def check_targets(
    rows: Sequence[Measured], taken: Mapping[str, Samples], variants: Mapping[str, Callable[[], Any]]
) -> list[str]:
    """Return a line a target of a case, reached or missed, and a profile of the variants that missed one."""
    lines = []
    for target in TARGETS:
        matching = [
            row for row in rows if (row.op, row.shape, row.dtype) == (target.op, target.shape, target.dtype)
        ]
        ours = next((row for row in matching if row.variant == target.variant), None)
        if ours is None:
            continue
        missed = []
        for rival, least in target.faster.items():
            gain = ratio(taken[rival], taken[target.variant])
            missed += [] if gain.value >= least else [rival]
            speed = f"{gain.value:.2f}x ({gain.low:.2f}–{gain.high:.2f}) as fast as {rival}"
            lines.append(f"- {target.variant}: {speed}, target ≥ {least:g}x: {_compare_speed(gain, least)}")
        eager = next(row for row in matching if row.variant == "eager")
        lines += [f"- {target.variant}: {line}" for line in _check_memory(target, ours, eager)]
        if missed:
            lines += ["", *_explain_time([target.variant, *missed], variants)]
    return [*lines, ""] if lines else []


def _check_memory(target: Target, ours: Measured, eager: Measured) -> list[str]:
    """Return whether the memory that a step adds is within the target; no line where it was not measured."""
    if ours.peak_bytes is None or eager.peak_bytes is None:
        return []
    lines = []
    if target.results is not None:
        most = (target.results + SLACK) * ours.results_bytes
        added = f"{format_bytes(ours.peak_bytes)} added, target ≤ {target.results:g} of the results"
        lines.append(f"{added} ({format_bytes(ours.results_bytes)}): {_word(ours.peak_bytes <= most)}")
    if target.workspace is not None:
        own = max(0, ours.peak_bytes - ours.results_bytes)
        its = max(1, eager.peak_bytes - eager.results_bytes)
        workspace = f"{format_bytes(own)} in addition to the results, {own / its:.2f} of eager's"
        lines.append(f"{workspace}, target ≤ {target.workspace:.2f}: {_word(own <= target.workspace * its)}")
    return lines


def _compare_speed(gain: Interval, least: float) -> str:
    """Return *reached* only where the whole interval is at or above the target."""
    if gain.low >= least:
        return "reached"
    return "missed" if gain.value < least else "reached, but not surely: the interval contains less"


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def _explain_time(names: Sequence[str], variants: Mapping[str, Callable[[], Any]]) -> list[str]:
    """Return a table of the operators that take most time of each variant."""
    lines = ["| variant | operators by their own time |", "|---|---|"]
    for name in names:
        longest = profile_operators(variants[name])[:_SHOWN_OPERATORS]
        lines.append(f"| {name} | {', '.join(f'{operator} {ms:.1f} ms' for operator, ms in longest)} |")
    return lines


def profile_operators(variant: Callable[[], Any]) -> list[tuple[str, float]]:
    """Return the operators of one step with the milliseconds each took itself, the longest first."""
    variant()
    with profile(activities=[ProfilerActivity.CPU]) as taken:
        variant()
    events = [(event.key, event.self_cpu_time_total / 1e3) for event in taken.key_averages()]
    return sorted(events, key=lambda one: -one[1])
