"""Compare environments of a process that trains: `memory` of its allocator, and `threads` on a busy machine.

    python -m benchmarks.processes memory [--steps 16] [--rounds 3] [--record FOLDER]
    python -m benchmarks.processes threads [--steps 2] [--rounds 5] [--busy 2] [--record FOLDER]

`stages` compares whole runs, and describes itself. In the other two, every variant is a process of its own
that trains an encoder of 12 layers of 384 in bf16. The variants take turns, in an order shuffled for each
round. `threads` keeps --busy other processes running all the time, each in an endless loop.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common.programs import make_parser, run_program
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.processes.stages import compare_workers
from harness.measure.latency import Samples, ratio
from harness.units import format_bytes

Taken = Mapping[str, Sequence[Mapping[str, Any]]]

_NAMES = (
    "HARNESS_POOL",
    "THP_MEM_ALLOC_ENABLE",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
)
"""Variables that a variant sets; they are absent where it does not."""

MEMORY = {
    "glibc": {"HARNESS_POOL": "0"},
    "glibc, large pages": {"HARNESS_POOL": "0", "THP_MEM_ALLOC_ENABLE": "1"},
    "glibc, one arena, mmap from 64 KiB": {
        "HARNESS_POOL": "0",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    },
    "pool": {"THP_MEM_ALLOC_ENABLE": "1"},
}
THREADS = {
    "active waiting": {},
    "passive waiting": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def take_turns(
    variants: Mapping[str, Mapping[str, str]], common: Mapping[str, str], size: Sequence[int], rounds: int
) -> Taken:
    """Run every variant once a round, in an order shuffled for each round.

    Args:
        variants: variables of the environment by name of variant.
        common: variables of all variants.
        size: steps and tokens of a step.
        rounds: how many.
    """
    taken: dict[str, list[Mapping[str, Any]]] = {name: [] for name in variants}
    order, shuffler = list(variants), random.Random(0)
    for number in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            taken[name].append(run_worker({**common, **variants[name]}, size))
            speed = taken[name][-1]["tokens"] / taken[name][-1]["wall_s"]
            print(f"round {number + 1} of {rounds}: {name}: {speed:.0f} tokens/s", flush=True)
    return taken


def run_worker(variables: Mapping[str, str], size: Sequence[int]) -> dict[str, Any]:
    """Run the worker in a process whose environment has these variables, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if name not in _NAMES}
    command = [sys.executable, "-m", "benchmarks.processes.worker", *map(str, size)]
    done = subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


@contextmanager
def keep_busy(number: int) -> Iterator[None]:
    """Keep processors busy for a while, each by a process in an endless loop."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def compare(taken: Taken, clock: str) -> dict[str, dict[str, Any]]:
    """Return tokens a second of each variant, and how many times as fast it is as the first."""
    samples = {name: Samples(tuple(round(1e9 * one[clock]) for one in runs)) for name, runs in taken.items()}
    first = next(iter(samples.values()))
    rows = {}
    for name, one in samples.items():
        gain = ratio(first, one)
        rows[name] = {
            "tokens_per_s": 1e3 * taken[name][0]["tokens"] / one.median_ms,
            "faster": (gain.value, gain.low, gain.high),
            "fastest_by_fastest": min(first.durations_ns) / min(one.durations_ns),
        }
    return rows


def draw_memory(taken: Taken) -> list[str]:
    """Return the table of memory: the largest peak of the rounds, and speeds by the processor's time."""
    first, rows = next(iter(taken)), compare(taken, "cpu_s")
    lines = [
        f"| allocator | peak | tokens per processor second | as fast as {first} | first touches of pages |"
    ]
    lines += ["|---|---:|---:|---:|---:|"]
    for name, row in rows.items():
        peak = max(max(one["peak_bytes"].values()) for one in taken[name])
        faults = statistics.median(one["faults"] for one in taken[name])
        lines.append(f"| {name} | {format_bytes(peak)} | {_format_speed(row)} | {faults / 1e6:.2f} million |")
    losses = {one["loss"] for runs in taken.values() for one in runs}
    return [*lines, "", f"Losses of all variants: {'equal' if len(losses) == 1 else 'not equal'}."]


def draw_threads(taken: Taken) -> list[str]:
    """Return the table of speeds by the clock."""
    first = next(iter(taken))
    lines = [f"| threads | tokens/s | as fast as {first} |", "|---|---:|---:|"]
    return lines + [f"| {name} | {_format_speed(row)} |" for name, row in compare(taken, "wall_s").items()]


def _format_speed(row: Mapping[str, Any]) -> str:
    value, low, high = row["faster"]
    fastest = row["fastest_by_fastest"]
    return f"{row['tokens_per_s']:,.0f} | {value:.2f}x ({low:.2f}–{high:.2f}; fastest {fastest:.2f}x)"


def _parse(name: str, given: Sequence[str], steps: int, rounds: int) -> argparse.Namespace:
    parser = make_parser(f"benchmarks.processes {name}", __doc__)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="other processes in endless loops")
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    return parser.parse_args(given)


def _finish(name: str, asked: argparse.Namespace, taken: Taken, lines: Sequence[str]) -> int:
    print("\n".join(lines))
    if asked.record:
        numbers = {"steps": asked.steps, "batch_tokens": asked.batch_tokens, "taken": taken}
        if name == "threads":
            numbers["busy"] = asked.busy
        print(f"written: {write_record(asked.record, name, describe_environment('cpu'), numbers, lines)}")
    return 0


def compare_memory(given: Sequence[str]) -> int:
    """Compare allocators, on one thread."""
    asked = _parse("memory", given, steps=16, rounds=3)
    size = (asked.steps, asked.batch_tokens)
    taken = take_turns(MEMORY, {"OMP_NUM_THREADS": "1"}, size, asked.rounds)
    return _finish("memory", asked, taken, draw_memory(taken))


def compare_threads(given: Sequence[str]) -> int:
    """Compare ways of waiting while other processes keep the processors busy."""
    asked = _parse("threads", given, steps=2, rounds=5)
    with keep_busy(asked.busy):
        taken = take_turns(THREADS, {}, (asked.steps, asked.batch_tokens), asked.rounds)
    return _finish("threads", asked, taken, draw_threads(taken))


def main(given: Sequence[str] | None = None) -> int:
    """Run the program that the first argument names."""
    programs = {"memory": compare_memory, "threads": compare_threads, "stages": compare_workers}
    return run_program("benchmarks.processes", programs, sys.argv[1:] if given is None else given)
