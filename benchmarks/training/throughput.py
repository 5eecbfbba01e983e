"""Time distilling mBERT's shape: this project's trainer, the published way, and each change between them.

    python -m benchmarks.training [--sizes mbert|tiny] [--rounds 4] [--record FOLDER]

Useful tokens a second on documents (log-normal lengths, median 250, cut at 512) and on sentences (median
25), all ways in the same rounds; the peak memory of each in a process of its own; and the losses of both
ways, step by step, on rows without padding, where they compute the same thing. Weights and tokens are random.

A padded micro-batch always takes as long: the published way is timed by a micro-batch of 8 rows and by an
update of its optimiser; a step of 4,096 useful tokens is as many micro-batches as it takes, and one update.
Set THP_MEM_ALLOC_ENABLE=1: it makes every way faster, the published one most.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.training.ways import (
    CHAIN,
    MEDIANS,
    Part,
    Sizes,
    Ways,
    compare_losses,
    get_mbert_sizes,
    get_tiny_sizes,
)
from harness.measure.interval import Interval
from harness.measure.latency import Samples, ratio
from harness.measure.memory import peak_memory
from harness.units import format_bytes

OURS = CHAIN[-2:]
"""The ways with targets: with the whole vocabulary, and with it trimmed first."""
TARGETS = {"documents": 5.0, "sentences": 20.0}
MEMORY_TARGET = 0.25
SIZES = {"mbert": get_mbert_sizes, "tiny": get_tiny_sizes}
Taken = Mapping[tuple[str, str], Sequence[Part]]


@dataclass(frozen=True)
class Result:
    """One way on one kind of rows.

    Attributes:
        way: name of the way.
        kind: ``documents`` or ``sentences``.
        tokens_per_s: useful tokens a second, from the median step.
        ratio_to_published: how many times as fast as the published way: value, low, high.
        ratio_to_previous: how many times as fast as the way before it in the chain.
        parts: timed parts, round by round.
    """

    way: str
    kind: str
    tokens_per_s: float
    ratio_to_published: tuple[float, float, float]
    ratio_to_previous: tuple[float, float, float] | None
    parts: tuple[Part, ...]


def time_ways(sizes: Sizes, rounds: int, folder: Path, chain: Sequence[str] = CHAIN) -> Taken:
    """Time every way on every kind once a round, in an order shuffled for each round."""
    made = Ways(sizes, folder)
    ways = {(name, kind): made.make(name, kind) for name in chain for kind in MEDIANS}
    taken: dict[tuple[str, str], list[Part]] = {one: [] for one in ways}
    order, shuffler = list(ways), random.Random(0)
    for number in range(rounds):
        shuffler.shuffle(order)
        for one in order:
            taken[one].append(ways[one].time(number))
            print(
                f"round {number + 1} of {rounds}: {', '.join(one)}: {taken[one][-1].seconds:.2f} s",
                flush=True,
            )
    return taken


def _samples(parts: Sequence[Part], step_tokens: int) -> Samples:
    return Samples(tuple(round(1e9 * part.step_seconds(step_tokens)) for part in parts))


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def compare_ways(taken: Taken, sizes: Sizes) -> list[Result]:
    """Return every way's speed, compared with the published way and with the way before it."""
    steps = {one: _samples(parts, sizes.batch_tokens) for one, parts in taken.items()}
    results = []
    for (way, kind), samples in steps.items():
        before = CHAIN[CHAIN.index(way) - 1] if way != CHAIN[0] else None
        results.append(
            Result(
                way=way,
                kind=kind,
                tokens_per_s=sizes.batch_tokens / samples.median_ms * 1e3,
                ratio_to_published=_bounds(ratio(steps[CHAIN[0], kind], samples)),
                ratio_to_previous=_bounds(ratio(steps[before, kind], samples)) if before else None,
                parts=tuple(taken[way, kind]),
            )
        )
    return results


def measure_peak(name: str, sizes: Sizes, folder: Path) -> int | None:
    """Return the peak memory of this process during a way's step on documents, weights included."""
    way = Ways(sizes, folder).make(name, "documents")
    with peak_memory() as peak:
        way.time(0)
    return peak.peak_bytes


def measure_peaks(chain: Sequence[str], sizes: str) -> dict[str, int | None]:
    """Return the peak memory of each way, each in a process of its own."""
    peaks = {}
    for name in chain:
        command = [sys.executable, "-m", "benchmarks.training", "--sizes", sizes, "--peak-of", name]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks[name] = json.loads(output.splitlines()[-1])
        print(f"peak memory of {name}: {peaks[name]} bytes", flush=True)
    return peaks


def _format_ratio(bounds: tuple[float, float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.2f}x ({bounds[1]:.2f}–{bounds[2]:.2f})"


def draw_table(results: Sequence[Result], peaks: Mapping[str, int | None]) -> list[str]:
    """Return one Markdown table a kind of rows."""
    lines = []
    for kind in MEDIANS:
        lines += [f"## {kind.capitalize()}: median {MEDIANS[kind]} tokens", ""]
        lines += ["| way | useful tokens/s | faster than published | by this change | peak memory |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for one in results:
            if one.kind == kind:
                peak = peaks.get(one.way)
                gains = f"{_format_ratio(one.ratio_to_published)} | {_format_ratio(one.ratio_to_previous)}"
                memory = "–" if peak is None else format_bytes(peak)
                lines.append(f"| {one.way} | {one.tokens_per_s:,.0f} | {gains} | {memory} |")
        lines.append("")
    return lines


def check_targets(results: Sequence[Result], peaks: Mapping[str, int | None]) -> list[str]:
    """Return for each target whether it was reached; the whole interval of a speed must lie above it."""
    lines = []
    for one in results:
        if one.way in OURS:
            reached = "reached" if one.ratio_to_published[1] >= TARGETS[one.kind] else "missed"
            speed = f"{_format_ratio(one.ratio_to_published)}, target ≥ {TARGETS[one.kind]:g}x"
            lines.append(f"- {one.way}, {one.kind}: {speed}: {reached}")
    published = peaks.get(CHAIN[0])
    for way in OURS:
        ours = peaks.get(way)
        if ours and published:
            reached = "reached" if ours <= MEMORY_TARGET * published else "missed"
            share = f"{ours / published:.2f} of the published way's"
            lines.append(f"- {way}, peak memory: {share}, target ≤ {MEMORY_TARGET}: {reached}")
    return lines


def draw_losses(losses: Sequence[tuple[float, float]]) -> list[str]:
    """Return the table of losses."""
    lines = ["| step | published | ours | relative difference |", "|---:|---:|---:|---:|"]
    for step, (one, other) in enumerate(losses, 1):
        lines.append(f"| {step} | {one:.6f} | {other:.6f} | {abs(one - other) / one:.1e} |")
    return lines


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("benchmarks.training", __doc__)
    parser.add_argument("--sizes", choices=tuple(SIZES), default="mbert")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--agreeing-steps", type=int, default=3)
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    parser.add_argument("--no-peaks", action="store_true", help="leave peak memory out")
    parser.add_argument("--peak-of", choices=CHAIN, help="only print one way's peak memory")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Time everything, print the tables and write the record."""
    asked = arguments(given)
    sizes = SIZES[asked.sizes]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.peak_of:
            print(json.dumps(measure_peak(asked.peak_of, sizes, folder)))
            return 0
        peaks = {} if asked.no_peaks else measure_peaks(CHAIN, asked.sizes)
        taken = time_ways(sizes, asked.rounds, folder)
        losses = compare_losses(sizes, asked.agreeing_steps, folder)
    results = compare_ways(taken, sizes)
    lines = [*draw_table(results, peaks), "## Targets", "", *check_targets(results, peaks), ""]
    lines += ["## Losses on rows without padding, float32, no dropout", "", *draw_losses(losses), ""]
    print("\n".join(lines))
    if asked.record:
        numbers = {
            "sizes": {**asdict(sizes), "shape": sizes.shape.model_dump()},
            "medians": MEDIANS,
            "results": [asdict(one) for one in results],
            "peak_bytes": peaks,
            "losses": losses,
        }
        path = write_record(asked.record, "training", describe_environment("cpu"), numbers, lines)
        print(f"written: {path}")
    return 0
