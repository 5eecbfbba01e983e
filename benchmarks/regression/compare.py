"""Is this checkout slower, or larger, than another revision? Exit code 1 where it is.

    python -m benchmarks.regression BASE [--only PATTERN …] [--accept PATTERN …] [--clock wall|cpu]

BASE is a git revision, or a record, which names the commit it was taken at and brings its counts.
That revision's package is unpacked and built in a folder of its own under build/compare; these benchmarks run
it and this checkout's in two processes that take turns, on one thread each, in several launches. A step is
slower where the whole 95 % interval of the ratio is past 5 %, twice: what looks slower is timed again in new
launches. Counts are compared exactly. Times of different runs are never compared.
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
from benchmarks.common.recording import environment, write
from benchmarks.regression import instructions, revisions
from benchmarks.regression.table import ENTRIES
from benchmarks.regression.two_revisions import BASE, HEAD, Worker, take
from benchmarks.regression.verdict import Change, Round, changes, slowdown, word
from harness.errors import HarnessError
from harness.measure.interval import Interval

BUILDS = ROOT / "build" / "compare"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
_ALL_FLOPS = {"HARNESS_OPS": "reference"}
Packages = Mapping[str, Path]


@dataclass(frozen=True)
class Finding:
    """What timing says of one step.

    Attributes:
        name: of the step, with its level.
        base_ms: the median round of the base, in milliseconds.
        slowdown: how many times as long it takes now.
        word: ``slower``, ``faster`` or ``same``.
        launches: the rounds of every launch, in nanoseconds.
    """

    name: str
    base_ms: float
    slowdown: Interval
    word: str
    launches: Sequence[Sequence[Round]]


@contextmanager
def workers(packages: Packages, folder: Path, **settings: str) -> Iterator[dict[str, Worker]]:
    """Starts one process a revision, each sure to run its own package."""
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(
                Worker(package, ROOT, folder, name=name, settings={**_ONE_THREAD, **settings})
            )
            for name, package in packages.items()
        }
        answers = both(started, do="about")
        for name, answer in answers.items():
            if Path(answer["package"]) != packages[name]:
                raise HarnessError(
                    f"compare: wanted the package of '{packages[name]}'; got '{answer['package']}'; "
                    "uninstall what shadows it"
                )
        for name, answer in answers.items():
            if answer["ops"] != answers[HEAD]["ops"]:
                told = (
                    f"the ops of '{name}' are {answer['ops']}, those of this checkout {answers[HEAD]['ops']}"
                )
                print(f"compare: {told}; their times differ for that", file=sys.stderr, flush=True)
        yield started


def both(started: Mapping[str, Worker], **command: Any) -> dict[str, dict[str, Any]]:
    """Gives the answers of all, which work at once: for what is not timed."""
    for worker in started.values():
        worker.tell(**command)
    return {name: worker.hear() for name, worker in started.items()}


def prepare(packages: Packages, folder: Path) -> dict[str, dict[str, int]]:
    """Makes the specimens of each revision under ``folder/<base|head>``; gives the counts."""
    with workers(packages, folder, **_ALL_FLOPS) as started:
        for name, worker in started.items():
            worker.tell(do="prepare", folder=str(folder / name))
        counts: dict[str, dict[str, int]] = {name: one.hear()["counts"] for name, one in started.items()}
    same = len({revisions.sources_digest(package) for package in packages.values()}) == 1
    if not same and not instructions.missing():
        counts[HEAD] |= instructions.count(packages[HEAD])
        try:
            counts[BASE] |= instructions.count(packages[BASE])
        except HarnessError as error:  # its kernels have other names or arguments
            print(f"{error}; the base's instructions are left out", file=sys.stderr, flush=True)
    return counts


def launch(
    packages: Packages, folder: Path, names: Sequence[str], *, rounds: int, seed: int, clock: str
) -> tuple[dict[str, list[Round]], dict[str, str]]:
    """Times the steps in one launch; gives the rounds, and why steps of the base could not be made.

    Raises:
        HarnessError: a step of this checkout could not be made.
    """
    with workers(packages, folder) as started:
        for name, worker in started.items():
            worker.tell(do="load", folder=str(folder / name), names=list(names))
        refused = {name: worker.hear()["refused"] for name, worker in started.items()}
        for step, reason in refused[HEAD].items():
            raise HarnessError(f"compare: wanted '{step}' to run in this checkout; got {reason}; mend it")
        sound = [name for name in names if name not in refused[BASE]]
        return take(started, sound, rounds=rounds, seed=seed, clock=clock), refused[BASE]


def time_steps(
    packages: Packages,
    folder: Path,
    names: Sequence[str],
    *,
    launches: int,
    rounds: int,
    seed: int,
    clock: str,
) -> tuple[list[Finding], dict[str, str]]:
    """Gives a finding a step over several launches, and why steps were left out."""
    taken: dict[str, list[list[Round]]] = {}
    refused: dict[str, str] = {}
    for number in range(launches):
        one, refused = launch(packages, folder, names, rounds=rounds, seed=seed + number, clock=clock)
        for name, found in one.items():
            taken.setdefault(name, []).append(found)
        print(f"launch {number + 1} of {launches}: {len(one)} steps timed", file=sys.stderr, flush=True)
    return [_finding(name, found) for name, found in taken.items()], refused


def _finding(name: str, launches: Sequence[Sequence[Round]]) -> Finding:
    everything = sorted(base for rounds in launches for base, _ in rounds)
    ratio = slowdown(launches)
    return Finding(name, everything[len(everything) // 2] / 1e6, ratio, word(ratio), launches)


def confirm(findings: Sequence[Finding], again: Sequence[Finding]) -> list[Finding]:
    """Gives the findings, in which what was not slower a second time is not slower."""
    second = {one.name: one for one in again}
    return [second[one.name] if one.word == "slower" and one.name in second else one for one in findings]


def recorded_changes(
    recorded: Mapping[str, int], counts: Mapping[str, Mapping[str, int]], accepted: Sequence[str]
) -> list[Change]:
    """Gives what grew since a record and is not seen beside its commit (a library may have changed since).

    What another machine may compute otherwise, right answers and instructions, is left out.
    """
    comparable = {
        name: value
        for name, value in recorded.items()
        if counts[BASE].get(name) == counts[HEAD].get(name) is not None
        and not name.startswith(("right answers", "instructions"))
    }
    return changes(comparable, {name: counts[HEAD][name] for name in comparable}, accepted)


def table(findings: Sequence[Finding], refused: Mapping[str, str]) -> list[str]:
    """Gives the steps as a Markdown table."""
    lines = ["| step | base ms | takes × as long (95 %) | |", "|---|---:|---:|---|"]
    for one in findings:
        ratio = f"{one.slowdown.value:.3f} ({one.slowdown.low:.3f}–{one.slowdown.high:.3f})"
        lines.append(f"| {one.name} | {one.base_ms:.3f} | {ratio} | {one.word} |")
    return [*lines, *(f"| {name} | – | – | not in the base: {why} |" for name, why in refused.items()), ""]


def change_table(found: Sequence[Change]) -> list[str]:
    """Gives the counts that changed as a Markdown table, or says that none did."""
    if not found:
        return ["Every count is the same.", ""]
    lines = ["| count | base | now | |", "|---|---:|---:|---|"]
    for one in found:
        base, head = ("–" if value is None else f"{value:,}" for value in (one.base, one.head))
        lines.append(f"| {one.name} | {base} | {head} | {one.word} |")
    return [*lines, ""]


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
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


def chosen(patterns: Sequence[str]) -> list[str]:
    """Gives the steps that any of the patterns names, in the order of the table.

    Raises:
        HarnessError: a pattern names none.
    """
    known = [one.full_name for one in ENTRIES]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            raise HarnessError(
                f"compare: wanted a pattern of steps; got '{pattern}', which names none of {'; '.join(known)}"
            )
    return [name for name in known if any(fnmatch(name, pattern) for pattern in patterns)]


def compare(asked: argparse.Namespace) -> int:
    """Compares, prints, and gives the exit code."""
    started_s = time.monotonic()
    base = revisions.find(asked.base)
    packages = {BASE: revisions.unpack(base.commit, BUILDS), HEAD: ROOT}
    names = chosen(asked.only)
    how = {"rounds": asked.rounds, "launches": asked.launches, "clock": asked.clock}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        counts = prepare(packages, folder)
        findings, refused = time_steps(packages, folder, names, seed=asked.seed, **how)
        slower = [one.name for one in findings if one.word == "slower"]
        if slower:
            print(f"timed again, as they look slower: {', '.join(slower)}", file=sys.stderr, flush=True)
            again, _ = time_steps(packages, folder, slower, seed=asked.seed + 1000, **how)
            findings = confirm(findings, again)
    changed = changes(counts[BASE], counts[HEAD], asked.accept)
    if base.counts is not None:
        changed += recorded_changes(base.counts, counts, asked.accept)
    worse = [one.name for one in findings if one.word == "slower"] + [
        one.name for one in changed if one.word == "worse"
    ]
    lines = [f"Beside {base.commit[:12]}, {asked.clock} time, in {time.monotonic() - started_s:.0f} s:", ""]
    lines += [*table(findings, refused), *change_table(changed)]
    lines += [f"Worse: {'; '.join(worse)}" if worse else "Nothing is worse."]
    print("\n".join(lines))
    if asked.record:
        numbers = {
            "base": base.commit,
            "findings": [asdict(one) for one in findings],
            "counts": counts,
            "changes": [asdict(one) for one in changed],
            "worse": worse,
        }
        print(f"written: {write(asked.record, 'compare', environment('cpu'), numbers, lines)}")
    return 1 if worse else 0


def main(given: Sequence[str] | None = None) -> int:
    """Runs the command; a fault is told in one line, with exit code 2."""
    try:
        return compare(arguments(given))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
