"""Is this checkout slower, or larger, than another revision? Exit code 1 where it is.

    python -m benchmarks.regression BASE [--only PATTERN …] [--accept PATTERN …] [--clock wall|cpu]

BASE is a git revision, or a record, which names its commit and contains its counts.
That revision's package is unpacked and built in a folder of its own under build/compare; these benchmarks run
it and this checkout's in two processes that take turns, on one thread each, in several launches. A step is
slower where the whole 95 % interval of the ratio is past 5 %, twice: a step that looks slower is timed again
in new launches. Counts are compared exactly. Times of different runs are never compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.common.paths import ROOT
from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.regression import instructions, revisions
from benchmarks.regression.table import ENTRIES
from benchmarks.regression.two_revisions import BASE, HEAD, Worker, time_in_turns
from benchmarks.regression.verdict import Change, Round, classify, compare_counts, estimate_slowdown
from harness.errors import HarnessError
from harness.measure.interval import Interval

BUILDS = ROOT / "build" / "compare"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
_ALL_FLOPS = {"HARNESS_OPS": "reference"}
Packages = Mapping[str, Path]


@dataclass(frozen=True)
class StepTiming:
    """Timing of one step in both revisions.

    Attributes:
        name: name of the step, with its level.
        base_ms: median round of the base, in milliseconds.
        slowdown: how many times as long the head takes.
        word: ``slower``, ``faster`` or ``same``.
        launches: rounds of every launch, in nanoseconds.
    """

    name: str
    base_ms: float
    slowdown: Interval
    word: str
    launches: Sequence[Sequence[Round]]


@contextmanager
def workers(packages: Packages, folder: Path, **settings: str) -> Iterator[dict[str, Worker]]:
    """Start one process a revision, and check that each runs its own package."""
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(
                Worker(package, ROOT, folder, name=name, settings={**_ONE_THREAD, **settings})
            )
            for name, package in packages.items()
        }
        answers = ask_all(started, do="about")
        for name, answer in answers.items():
            if Path(answer["package"]) != packages[name]:
                raise HarnessError(
                    f"compare: expected the package of '{packages[name]}'; got '{answer['package']}'; "
                    "uninstall what shadows it"
                )
        for name, answer in answers.items():
            if answer["ops"] != answers[HEAD]["ops"]:
                ops = (
                    f"the ops of '{name}' are {answer['ops']}, those of this checkout {answers[HEAD]['ops']}"
                )
                print(f"compare: {ops}; their times differ for that", file=sys.stderr, flush=True)
        yield started


def ask_all(started: Mapping[str, Worker], **command: Any) -> dict[str, dict[str, Any]]:
    """Return the answers of all processes, which work at once: for commands that are not timed."""
    for worker in started.values():
        worker.send(**command)
    return {name: worker.receive() for name, worker in started.items()}


def prepare_models(packages: Packages, folder: Path) -> dict[str, dict[str, int]]:
    """Make the small models of each revision under ``folder/<base|head>``, and return the counts."""
    with workers(packages, folder, **_ALL_FLOPS) as started:
        for name, worker in started.items():
            worker.send(do="prepare", folder=str(folder / name))
        counts: dict[str, dict[str, int]] = {name: one.receive()["counts"] for name, one in started.items()}
    same = len({revisions.digest_sources(package) for package in packages.values()}) == 1
    if not same and not instructions.list_missing_tools():
        counts[HEAD] |= instructions.count_instructions(packages[HEAD])
        try:
            counts[BASE] |= instructions.count_instructions(packages[BASE])
        except HarnessError as error:  # its kernels have other names or arguments
            print(f"{error}; the base's instructions are left out", file=sys.stderr, flush=True)
    return counts


def time_launch(
    packages: Packages, folder: Path, names: Sequence[str], *, rounds: int, seed: int, clock: str
) -> tuple[dict[str, list[Round]], dict[str, str]]:
    """Time the steps in one launch, and return the rounds, and why steps of the base could not be made.

    Raises:
        HarnessError: a step of this checkout could not be made.
    """
    with workers(packages, folder) as started:
        for name, worker in started.items():
            worker.send(do="load", folder=str(folder / name), names=list(names))
        refused = {name: worker.receive()["refused"] for name, worker in started.items()}
        for step, reason in refused[HEAD].items():
            raise HarnessError(
                f"compare: expected '{step}' to run in this checkout; got {reason}; fix the step"
            )
        sound = [name for name in names if name not in refused[BASE]]
        return time_in_turns(started, sound, rounds=rounds, seed=seed, clock=clock), refused[BASE]


def time_steps(
    packages: Packages,
    folder: Path,
    names: Sequence[str],
    *,
    launches: int,
    rounds: int,
    seed: int,
    clock: str,
) -> tuple[list[StepTiming], dict[str, str]]:
    """Return a timing a step over several launches, and why steps were left out."""
    taken: dict[str, list[list[Round]]] = {}
    refused: dict[str, str] = {}
    for number in range(launches):
        one, refused = time_launch(packages, folder, names, rounds=rounds, seed=seed + number, clock=clock)
        for name, taken_rounds in one.items():
            taken.setdefault(name, []).append(taken_rounds)
        print(f"launch {number + 1} of {launches}: {len(one)} steps timed", file=sys.stderr, flush=True)
    return [_summarise(name, launched) for name, launched in taken.items()], refused


def _summarise(name: str, launches: Sequence[Sequence[Round]]) -> StepTiming:
    everything = sorted(base for rounds in launches for base, _ in rounds)
    ratio = estimate_slowdown(launches)
    return StepTiming(name, everything[len(everything) // 2] / 1e6, ratio, classify(ratio), launches)


def confirm_slower(timings: Sequence[StepTiming], again: Sequence[StepTiming]) -> list[StepTiming]:
    """Return the timings, with the second timing of each step that looked slower."""
    second = {one.name: one for one in again}
    return [second[one.name] if one.word == "slower" and one.name in second else one for one in timings]


def compare_recorded_counts(
    recorded: Mapping[str, int], counts: Mapping[str, Mapping[str, int]], accepted: Sequence[str]
) -> list[Change]:
    """Return the counts that grew since a record though both revisions agree (a library may have changed).

    Right answers and instructions, which may differ on another machine, are left out.
    """
    comparable = {
        name: value
        for name, value in recorded.items()
        if counts[BASE].get(name) == counts[HEAD].get(name) is not None
        and not name.startswith(("right answers", "instructions"))
    }
    return compare_counts(comparable, {name: counts[HEAD][name] for name in comparable}, accepted)


def draw_timings(timings: Sequence[StepTiming], refused: Mapping[str, str]) -> list[str]:
    """Return the steps as a Markdown table."""
    lines = ["| step | base ms | takes × as long (95 %) | |", "|---|---:|---:|---|"]
    for one in timings:
        ratio = f"{one.slowdown.value:.3f} ({one.slowdown.low:.3f}–{one.slowdown.high:.3f})"
        lines.append(f"| {one.name} | {one.base_ms:.3f} | {ratio} | {one.word} |")
    return [*lines, *(f"| {name} | – | – | not in the base: {why} |" for name, why in refused.items()), ""]


def draw_changes(changed: Sequence[Change]) -> list[str]:
    """Return the counts that changed as a Markdown table, or a line that says that none did."""
    if not changed:
        return ["Every count is the same.", ""]
    lines = ["| count | base | now | |", "|---|---:|---:|---|"]
    for one in changed:
        base, head = ("–" if value is None else f"{value:,}" for value in (one.base, one.head))
        lines.append(f"| {one.name} | {base} | {head} | {one.word} |")
    return [*lines, ""]


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("benchmarks.regression", __doc__)
    parser.add_argument("base", help="a git revision, or a file of benchmarks/records")
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of steps, as 'ops: *'")
    parser.add_argument("--accept", nargs="*", default=[], help="patterns of counts that may grow")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a busy machine")
    parser.add_argument("--launches", type=int, default=4, help="of both processes")
    parser.add_argument("--rounds", type=int, default=12, help="of every launch, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the order of steps")
    parser.add_argument("--record", type=Path, help="the folder a record is written to")
    return parser.parse_args(given)


def select_steps(patterns: Sequence[str]) -> list[str]:
    """Return the steps that any of the patterns matches, in the order of the table.

    Raises:
        HarnessError: a pattern matches none.
    """
    known = [one.full_name for one in ENTRIES]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            raise HarnessError(
                f"compare: expected a pattern of steps; got '{pattern}', which matches none of "
                f"{'; '.join(known)}"
            )
    return [name for name in known if any(fnmatch(name, pattern) for pattern in patterns)]


def compare(asked: argparse.Namespace) -> int:
    """Compare both revisions, print the tables, and return the exit code."""
    started_s = time.monotonic()
    base = revisions.find_base(asked.base)
    packages = {BASE: revisions.unpack_package(base.commit, BUILDS), HEAD: ROOT}
    names = select_steps(asked.only)
    how = {"rounds": asked.rounds, "launches": asked.launches, "clock": asked.clock}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        counts = prepare_models(packages, folder)
        timings, refused = time_steps(packages, folder, names, seed=asked.seed, **how)
        slower = [one.name for one in timings if one.word == "slower"]
        if slower:
            print(f"timed again, as they look slower: {', '.join(slower)}", file=sys.stderr, flush=True)
            again, _ = time_steps(packages, folder, slower, seed=asked.seed + 1000, **how)
            timings = confirm_slower(timings, again)
    changed = compare_counts(counts[BASE], counts[HEAD], asked.accept)
    if base.counts is not None:
        changed += compare_recorded_counts(base.counts, counts, asked.accept)
    worse = [one.name for one in timings if one.word == "slower"] + [
        one.name for one in changed if one.word == "worse"
    ]
    lines = [
        f"Compared with {base.commit[:12]}, {asked.clock} time, in {time.monotonic() - started_s:.0f} s:",
        "",
    ]
    lines += [*draw_timings(timings, refused), *draw_changes(changed)]
    lines += [f"Worse: {'; '.join(worse)}" if worse else "Nothing is worse."]
    print("\n".join(lines))
    if asked.record:
        numbers = {
            "base": base.commit,
            "findings": [asdict(one) for one in timings],
            "counts": counts,
            "changes": [asdict(one) for one in changed],
            "worse": worse,
        }
        path = write_record(asked.record, "compare", describe_environment("cpu"), numbers, lines)
        print(f"written: {path}")
    return 1 if worse else 0


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; print a fault in one line, with exit code 2."""
    try:
        return compare(arguments(given))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
