"""Time a whole run with one worker and with several, in turns, and compare what the stages wrote."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common.paths import ROOT
from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from harness.measure.latency import Samples, ratio
from harness.pipeline.manifest import read
from harness.pipeline.store import Store

_TIMED = frozenset({"latency", "package", "precisions", "report"})
"""Kinds of stages whose files hold times or names of earlier stages' times."""
DESCRIPTION = """Time a whole run with one worker and with several, with the same threads for each worker.

    python -m benchmarks.processes stages [--workers 1 2] [--threads 1] [--rounds 3] [--record FOLDER]

Each run begins in an empty folder. The runs take turns, in the opposite order in every second round. What
their stages wrote is compared, but for the stages that measure time.
"""


def run_once(options: Sequence[str], workers: int, threads: int) -> dict[str, Any]:
    """Run `harness reproduce` in an empty folder; return its seconds and a digest of what each stage wrote.

    Besides: the processors that it took on average, and those that other processes took meanwhile.
    """
    command = [sys.executable, "-m", "harness", "reproduce", *options]
    command += ["--workers", str(workers), "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as runs:
        before, own = _read_busy(), _read_own()
        began_s = time.monotonic()
        subprocess.run([*command, "--runs", runs], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        wall_s = time.monotonic() - began_s
        own, busy = _read_own() - own, _read_busy() - before
        written = {}
        kinds: dict[str, float] = {}
        for folder in Store(Path(runs)).list_stages():
            manifest = read(folder)
            kinds[manifest.kind] = kinds.get(manifest.kind, 0.0) + manifest.wall_s
            if manifest.kind not in _TIMED:
                written[manifest.stage] = manifest.outputs_digest
    return {
        "wall_s": round(wall_s, 1),
        "own_processors": round(own / wall_s, 2),
        "other_processors": round(max(0.0, busy - own) / wall_s, 2),
        "kinds": {kind: round(seconds, 1) for kind, seconds in sorted(kinds.items())},
        "written": written,
    }


def _read_busy() -> float:
    """Return the seconds that this machine's processors have computed."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _read_own() -> float:
    """Return the seconds that the ended children of this process have computed, with theirs."""
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


def tabulate(taken: Mapping[int, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the table of the numbers of workers, and whether their stages wrote the same."""
    samples = {
        number: Samples(tuple(round(1e9 * one["wall_s"]) for one in runs)) for number, runs in taken.items()
    }
    first = next(iter(samples.values()))
    lines = [
        "| workers | seconds | as fast as one | processors | of other processes |",
        "|--:|--:|--:|--:|--:|",
    ]
    for number, runs in taken.items():
        gain = ratio(first, samples[number])
        means = [_average(runs, name) for name in ("own_processors", "other_processors")]
        seconds = ", ".join(f"{one['wall_s']:.0f}" for one in runs)
        lines.append(
            f"| {number} | {seconds} "
            f"| {gain.value:.2f}x ({gain.low:.2f}–{gain.high:.2f}) | {means[0]:.2f} | {means[1]:.2f} |"
        )
    every = [one["written"] for runs in taken.values() for one in runs]
    different = sorted({stage for one in every for stage in every[0] if one.get(stage) != every[0][stage]})
    total = len(every[0])
    said = f"differ in {', '.join(different)}" if different else "are the same"
    return [
        *lines,
        "",
        f"The files of the {total} stages that measure no time {said} in all {len(every)} runs.",
    ]


def _average(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(one[name] for one in runs) / len(runs))


def compare_workers(given: Sequence[str]) -> int:
    """Time the runs, print the table, and write the record where asked."""
    parser = make_parser("benchmarks.processes stages", DESCRIPTION)
    parser.add_argument("--language", default="mt")
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--recipe", help="left out: that of `harness reproduce`")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    asked = parser.parse_args(given)
    options = [asked.language, "--scale", asked.scale]
    options += ["--recipe", asked.recipe] if asked.recipe else []
    taken: dict[int, list[dict[str, Any]]] = {number: [] for number in asked.workers}
    for turn in range(asked.rounds):
        for number in asked.workers[:: -1 if turn % 2 else 1]:
            one = run_once(options, number, asked.threads)
            taken[number].append(one)
            busy = f"{one['other_processors']} processors for other processes"
            print(f"round {turn + 1}: {number} workers: {one['wall_s']} s, {busy}", flush=True)
    lines = tabulate(taken)
    print("\n".join(lines))
    if asked.record is not None:
        about = describe_environment("cpu")
        numbers = {"command": " ".join(["reproduce", *options]), "threads": asked.threads, "taken": taken}
        print(f"written: {write_record(asked.record, 'workers', about, numbers, lines)}")
    return 0
