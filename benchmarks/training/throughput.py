"""Times distilling mBERT's shape: this project's trainer beside the published way, and each change between.

    python -m benchmarks.training [--sizes mbert|tiny] [--rounds 4] [--record FOLDER]

Useful tokens a second on documents (log-normal lengths, median 250, cut at 512) and on sentences (median
25), all ways in the same rounds; the peak memory of each in a process of its own; and the losses of both
ways, step by step, on rows without padding, where they compute the same thing. Weights and tokens are random.

A padded micro-batch costs the same whatever it holds: the published way is timed by its micro-batch of 8 rows
and by its optimiser's update, and a step of 4,096 useful tokens is as many of the one as it takes, and one of
the other. Set THP_MEM_ALLOC_ENABLE=1: it makes every way faster, the published one most.
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
from benchmarks.training.ways import CHAIN, MEDIANS, Part, Sizes, Ways, agreement, mbert, tiny
from harness.measure.interval import Interval
from harness.measure.latency import Samples, ratio
from harness.measure.memory import peak_memory
from harness.units import format_bytes

OURS = CHAIN[-2:]
"""Judged: with the whole vocabulary, and with it trimmed first."""
TARGETS = {"documents": 5.0, "sentences": 20.0}
MEMORY_TARGET = 0.25
SIZES = {"mbert": mbert, "tiny": tiny}
Taken = Mapping[tuple[str, str], Sequence[Part]]


@dataclass(frozen=True)
class Result:
    """One way on one kind of rows.

    Attributes:
        way: its name.
        kind: ``documents`` or ``sentences``.
        tokens_per_s: useful tokens a second, from the median step.
        ratio_to_published: how many times as fast as the published way: value, low, high.
        ratio_to_previous: how many times as fast as the way before it in the chain.
        parts: what was timed, round by round.
    """

    way: str
    kind: str
    tokens_per_s: float
    ratio_to_published: tuple[float, float, float]
    ratio_to_previous: tuple[float, float, float] | None
    parts: tuple[Part, ...]


def take(sizes: Sizes, rounds: int, folder: Path, chain: Sequence[str] = CHAIN) -> Taken:
    """Times every way on every kind once a round, in an order shuffled for each round."""
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


def results_of(taken: Taken, sizes: Sizes) -> list[Result]:
    """Gives every way's speed beside the published way's, and beside the one before it."""
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


def peak_of(name: str, sizes: Sizes, folder: Path) -> int | None:
    """Gives the peak memory of this process while a way takes its step on documents, weights included."""
    way = Ways(sizes, folder).make(name, "documents")
    with peak_memory() as peak:
        way.time(0)
    return peak.peak_bytes


def peaks_of(chain: Sequence[str], sizes: str) -> dict[str, int | None]:
    """Gives the peak memory of each way, each in a process of its own."""
    peaks = {}
    for name in chain:
        command = [sys.executable, "-m", "benchmarks.training", "--sizes", sizes, "--peak-of", name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks[name] = json.loads(told.splitlines()[-1])
        print(f"peak memory of {name}: {told.splitlines()[-1]} bytes", flush=True)
    return peaks


def _told(bounds: tuple[float, float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.2f}x ({bounds[1]:.2f}–{bounds[2]:.2f})"


def table(results: Sequence[Result], peaks: Mapping[str, int | None]) -> list[str]:
    """Gives one Markdown table a kind of rows."""
    lines = []
    for kind in MEDIANS:
        lines += [f"## {kind.capitalize()}: median {MEDIANS[kind]} tokens", ""]
        lines += ["| way | useful tokens/s | faster than published | by this change | peak memory |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for one in results:
            if one.kind == kind:
                peak = peaks.get(one.way)
                gains = f"{_told(one.ratio_to_published)} | {_told(one.ratio_to_previous)}"
                memory = "–" if peak is None else format_bytes(peak)
                lines.append(f"| {one.way} | {one.tokens_per_s:,.0f} | {gains} | {memory} |")
        lines.append("")
    return lines


def verdicts(results: Sequence[Result], peaks: Mapping[str, int | None]) -> list[str]:
    """Says of each target whether it was reached; a speed's whole interval must lie above it."""
    lines = []
    for one in results:
        if one.way in OURS:
            reached = "reached" if one.ratio_to_published[1] >= TARGETS[one.kind] else "missed"
            told = f"{_told(one.ratio_to_published)}, wanted ≥ {TARGETS[one.kind]:g}x: {reached}"
            lines.append(f"- {one.way}, {one.kind}: {told}")
    published = peaks.get(CHAIN[0])
    for way in OURS:
        ours = peaks.get(way)
        if ours and published:
            reached = "reached" if ours <= MEMORY_TARGET * published else "missed"
            share = f"{ours / published:.2f} of the published way's"
            lines.append(f"- {way}, peak memory: {share}, wanted ≤ {MEMORY_TARGET}: {reached}")
    return lines


def agreed(losses: Sequence[tuple[float, float]]) -> list[str]:
    """Gives the table of losses."""
    lines = ["| step | published | ours | apart |", "|---:|---:|---:|---:|"]
    for step, (one, other) in enumerate(losses, 1):
        lines.append(f"| {step} | {one:.6f} | {other:.6f} | {abs(one - other) / one:.1e} |")
    return lines


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("benchmarks.training", __doc__)
    parser.add_argument("--sizes", choices=tuple(SIZES), default="mbert")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--agreeing-steps", type=int, default=3)
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    parser.add_argument("--no-peaks", action="store_true", help="leave peak memory out")
    parser.add_argument("--peak-of", choices=CHAIN, help="only say one way's peak memory")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Runs everything, prints the tables and writes the record."""
    asked = arguments(given)
    sizes = SIZES[asked.sizes]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.peak_of:
            print(json.dumps(peak_of(asked.peak_of, sizes, folder)))
            return 0
        peaks = {} if asked.no_peaks else peaks_of(CHAIN, asked.sizes)
        taken = take(sizes, asked.rounds, folder)
        losses = agreement(sizes, asked.agreeing_steps, folder)
    results = results_of(taken, sizes)
    lines = [*table(results, peaks), "## Targets", "", *verdicts(results, peaks), ""]
    lines += ["## Losses on rows without padding, float32, no dropout", "", *agreed(losses), ""]
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
