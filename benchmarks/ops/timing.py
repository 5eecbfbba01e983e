"""Time the ops: one row an op × variant × shape × dtype, all variants of a case in the same rounds.

    python -m benchmarks.ops [--shapes small|full] [--only NAME …] [--budget-s 20] [--record FOLDER]

Outputs are checked against eager before anything is timed. Ratios are of medians within one run, with a
bootstrap interval; a ratio whose interval contains 1 is printed as –. Shares of peak are of a copy and of a
matrix product in the same process. Set THP_MEM_ALLOC_ENABLE=1: it makes every variant faster, eager most.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.ops.cases import BUILDERS, SHAPES, Case
from benchmarks.ops.targets import SLACK, check_targets
from harness.errors import HarnessError
from harness.measure.interval import Interval
from harness.measure.latency import Samples, interleave, ratio, speedup
from harness.measure.memory import peak_memory
from harness.units import format_bytes

ALLOWED = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
_PROBE_BYTES = 256 << 20


@dataclass(frozen=True)
class Row:
    """One variant of one case; every sample is kept.

    Attributes:
        op: name of the op.
        shape: sizes by letter.
        dtype: type of the inputs.
        variant: name of the variant.
        median_ms: median of the samples.
        ratio_to_eager: how many times as fast as eager: value, low, high.
        peak_bytes: memory that a step added, results included; ``None`` where the system cannot
            measure it, or reports less than the size of the results.
        results_bytes: size of the loss and the gradients.
        bandwidth_fraction: declared bytes over time, as a share of a copy's; ``None`` for products.
        flops_fraction: declared FLOPs over time, as a share of a square product's; ``None`` without.
        mistake: largest relative distance of loss or gradient from eager's.
        samples_ms: time of every round.
    """

    op: str
    shape: Mapping[str, int]
    dtype: str
    variant: str
    median_ms: float
    ratio_to_eager: tuple[float, float, float]
    peak_bytes: int | None
    results_bytes: int
    bandwidth_fraction: float | None
    flops_fraction: float | None
    mistake: float | None
    samples_ms: tuple[float, ...]


def measure_mistake(results: list[Tensor], truths: list[Tensor]) -> float:
    """Return the largest relative distance between two variants' losses and gradients."""
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(results, truths, strict=True)]
    return max(float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in pairs)


def check_case(case: Case) -> tuple[dict[str, float], int]:
    """Return each variant's distance from eager, and the size of the results.

    Raises:
        HarnessError: a variant computes something else.
    """
    truths = case.variants["eager"]()
    mistakes: dict[str, float] = {}
    for name, variant in case.variants.items():
        mistakes[name] = measure_mistake(variant(), truths)
        if not mistakes[name] < ALLOWED[case.dtype]:
            raise HarnessError(
                f"benchmark of {case.name}: expected {name} within {ALLOWED[case.dtype]:.0e} of eager; got "
                f"{mistakes[name]:.1e}; it computes something else"
            )
    return mistakes, sum(one.nbytes for one in truths)


def measure_peaks(dtype: torch.dtype, device: str) -> tuple[float, float]:
    """Return a copy's bytes per second and a square product's FLOPs per second on this machine."""
    source = torch.ones(_PROBE_BYTES // dtype.itemsize, dtype=dtype, device=device)
    target, square = torch.empty_like(source), torch.randn(2048, 2048, device=device).to(dtype)
    calls = {"copy": lambda: target.copy_(source), "product": lambda: square @ square}
    taken = interleave(synchronise(calls, device), warmup_s=0.2, budget_s=1.0, min_rounds=5)
    copied, multiplied = (1e9 / min(taken[name].durations_ns) for name in ("copy", "product"))
    return 2 * _PROBE_BYTES * copied, 2 * 2048**3 * multiplied


def synchronise(calls: Mapping[str, Callable[[], object]], device: str) -> dict[str, Callable[[], object]]:
    """Return the calls, each of which waits for the device to end."""
    if device == "cpu":
        return dict(calls)

    def ended(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            torch.cuda.synchronize()

        return run

    return {name: ended(call) for name, call in calls.items()}


def release_freed_memory() -> None:
    """Return freed memory to the system, if the allocator can; a step that reuses it would add nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def measure_added_memory(variant: Callable[[], object], device: str) -> int | None:
    """Return the memory that one step adds, results included."""
    gc.collect()
    if device == "cpu":
        release_freed_memory()
        with peak_memory() as peak:
            variant()
        return peak.grown_bytes
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    variant()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _drop_implausible(peak_bytes: int | None, results_bytes: int, variant: str) -> int | None:
    """Return the memory that a step adds; None if less than its results, as it reused freed memory."""
    if peak_bytes is None or "in place" in variant:
        return peak_bytes
    return peak_bytes if peak_bytes >= (1 - SLACK) * results_bytes else None


def time_case(
    case: Case, device: str, budget_s: float, min_rounds: int
) -> tuple[list[Row], dict[str, Samples]]:
    """Return one row a variant, and the samples."""
    mistakes, results_bytes = check_case(case)
    peaks = {
        name: _drop_implausible(measure_added_memory(variant, device), results_bytes, name)
        for name, variant in case.variants.items()
    }
    copy_rate, product_rate = measure_peaks(case.dtype, device)
    calls = synchronise(case.variants, device)
    taken = interleave(calls, warmup_s=0.0, budget_s=budget_s, min_rounds=min_rounds)
    rows = []
    for name, samples in taken.items():
        gain, median_s = ratio(taken["eager"], samples), samples.median_ms / 1e3
        rows.append(
            Row(
                op=case.name,
                shape=case.shape,
                dtype=str(case.dtype).removeprefix("torch."),
                variant=name,
                median_ms=samples.median_ms,
                ratio_to_eager=(gain.value, gain.low, gain.high),
                peak_bytes=peaks[name],
                results_bytes=results_bytes,
                bandwidth_fraction=case.traffic_bytes / median_s / copy_rate if case.traffic_bytes else None,
                flops_fraction=case.flops / median_s / product_rate if case.flops else None,
                mistake=mistakes[name],
                samples_ms=tuple(one / 1e6 for one in samples.durations_ns),
            )
        )
    return rows, taken


def format_speedup(interval: Interval) -> str:
    """Return a speed-up with its interval, or –."""
    gain = speedup(interval)
    return "–" if gain is None else f"{gain:.2f}x ({interval.low:.2f}–{interval.high:.2f})"


def format_share(fraction: float | None) -> str:
    """Return a share in percent, or –."""
    return "–" if fraction is None else f"{100 * fraction:.0f} %"


def draw_table(rows: list[Row], taken: Mapping[str, Samples]) -> str:
    """Return a case as a Markdown table: each variant compared with eager, and the harness with each."""
    first = rows[0]
    sizes = ", ".join(f"{letter} = {size:,}" for letter, size in first.shape.items())
    lines = [
        f"### {first.op}: {sizes}, {first.dtype}",
        "",
        "| variant | median ms | faster than eager | harness faster by | added memory | bandwidth | FLOPs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        against = (
            format_speedup(ratio(taken[row.variant], taken["harness"])) if row.variant != "harness" else "–"
        )
        memory = "–" if row.peak_bytes is None else format_bytes(row.peak_bytes)
        speed = format_speedup(Interval(*row.ratio_to_eager))
        shares = f"{format_share(row.bandwidth_fraction)} | {format_share(row.flops_fraction)}"
        lines.append(f"| {row.variant} | {row.median_ms:.2f} | {speed} | {against} | {memory} | {shares} |")
    return "\n".join([*lines, ""])


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("benchmarks.ops", __doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", choices=("small", "full"), default="full")
    parser.add_argument("--only", nargs="*", choices=tuple(BUILDERS), default=tuple(BUILDERS))
    parser.add_argument("--budget-s", type=float, default=20.0, help="for all variants of one case")
    parser.add_argument("--min-rounds", type=int, default=5)
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Time the chosen cases, print a table each, and write the record."""
    asked = arguments(given)
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "benchmarks.ops: --device cuda: expected an NVIDIA GPU that torch can use; got none; leave it out"
        )
    torch.manual_seed(0)
    rows: list[Row] = []
    tables: list[str] = []
    for name, shape, dtype in SHAPES[asked.device][asked.shapes]:
        if name not in asked.only:
            continue
        case = BUILDERS[name](shape, dtype, asked.device)
        case_rows, taken = time_case(case, asked.device, asked.budget_s, asked.min_rounds)
        rows += case_rows
        text = "\n".join([draw_table(case_rows, taken), *check_targets(case_rows, taken, case.variants)])
        tables.append(text)
        print(text, flush=True)
    if asked.record:
        numbers = {"rows": [asdict(row) for row in rows]}
        about = describe_environment(asked.device)
        print(f"written: {write_record(asked.record, 'ops', about, numbers, tables)}")
    return 0
