"""Try `harness corpus` on generated corpora: what it leaves out, its memory, kill -9, and Ray.

    python -m benchmarks.corpora --megabytes 20 200 --out DIR [--kills 3] [--ray] [--record FOLDER]

Prints a line for each figure; the exit code is 1 where one is not as the documentation promises.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.corpora.generation import Planted, generate
from harness.data.corpus import leak_key
from harness.data.folder import read_corpus

_NAME = re.compile(r"d(\d+)(c?)")
_POLL_S = 0.1
READING = (sys.executable, "-m", "benchmarks.corpora.reading")
LEAST_RECALL = 0.99
MOST_RATIO = 1.25
"""Of the peaks of memory between the sizes."""


@dataclass
class Outcome:
    """The figures of a corpus.

    Attributes:
        megabytes: of generated text.
        peak_mb: the most memory of one process, without mapped files.
        reading_mb: likewise of a process that prepares and packs the written text.
        time_s: of the whole command.
        duplicates: planted near-duplicates.
        missed: of them, in the written text.
        lost: documents without a near-duplicate that are not in the written text.
        leaks: test sentences in the written text.
        equal: whether the files of killed commands, and of Ray, are those of the first.
    """

    megabytes: float
    peak_mb: float = 0.0
    reading_mb: float = 0.0
    time_s: float = 0.0
    duplicates: int = 0
    missed: int = 0
    lost: int = 0
    leaks: int = 0
    equal: dict[str, bool] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Return whether the documentation's promises hold."""
        recall = 1 - self.missed / max(1, self.duplicates)
        return recall >= LEAST_RECALL and not self.leaks and all(self.equal.values())


def main(given: Sequence[str]) -> int:
    """Run the trials that the command line names."""
    parser = make_parser("benchmarks.corpora", __doc__)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[20, 200])
    parser.add_argument("--languages", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3, help="commands that are killed, of the first size")
    parser.add_argument("--ray", action="store_true", help="make the first size on Ray, too")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder for all files")
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    options = parser.parse_args(given)
    outcomes = []
    for number, megabytes in enumerate(options.megabytes):
        folder = options.out / f"{megabytes:g}"
        planted = generate(folder, int(megabytes * 1e6), options.languages)
        outcome = Outcome(megabytes)
        command = [sys.executable, "-m", "harness", "corpus", str(folder / "src"),
                   "--lang", ",".join(planted.codes), "--data", str(folder / "data"),
                   "--workers", str(options.workers)]  # fmt: skip
        began_s = time.monotonic()
        outcome.peak_mb = _make(command, folder / "text") / 1e6
        outcome.time_s = time.monotonic() - began_s
        outcome.reading_mb = _run([*READING, str(folder / "text"), *planted.codes]) / 1e6
        _compare(planted, folder / "text", outcome)
        if number == 0:
            _repeat(command, folder, outcome, options.kills, ray=options.ray)
        print(json.dumps(vars(outcome)), flush=True)
        outcomes.append(outcome)
        shutil.rmtree(folder)
    ratios = [
        max(peaks) / min(peaks)
        for peaks in zip(*((outcome.peak_mb, outcome.reading_mb) for outcome in outcomes), strict=True)
    ]
    lines = tabulate(outcomes, ratios)
    print("\n".join(lines))
    if options.record is not None:
        about = describe_environment("cpu")
        numbers = {"languages": options.languages, "workers": options.workers, "kills": options.kills}
        numbers |= {"outcomes": [vars(one) for one in outcomes], "ratios": ratios}
        print(f"written: {write_record(options.record, 'corpora', about, numbers, lines)}")
    return 0 if all(one.is_good for one in outcomes) and max(ratios) <= MOST_RATIO else 1


def tabulate(outcomes: Sequence[Outcome], ratios: Sequence[float]) -> list[str]:
    """Return the table of the sizes, and the ratios of their peaks of memory."""
    lines = [
        "| MB of text | seconds | near-duplicates | found | lost documents | test sentences left "
        "| MB of memory to make | to read |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one.megabytes:g} | {one.time_s:.0f} | {one.duplicates:,} "
        f"| {1 - one.missed / max(1, one.duplicates):.2%} | {one.lost:,} | {one.leaks} "
        f"| {one.peak_mb:.0f} | {one.reading_mb:.0f} |"
        for one in outcomes
    ]
    same = {name: equal for one in outcomes for name, equal in one.equal.items()}
    said = ", ".join(f"{name}: {'equal' if equal else 'DIFFERENT'}" for name, equal in same.items())
    return [
        *lines,
        "",
        f"Largest peak of a process over the smallest: {ratios[0]:.2f} (making), {ratios[1]:.2f} (reading).",
        f"Files of the first size against those of an undisturbed command: {said or 'not tried'}.",
    ]


def _make(command: Sequence[str], out: Path, kill_after: int | None = None) -> int:
    """Make a corpus, or kill the command after a number of finished tasks; return its peak."""
    done = (
        (lambda: len(list(out.glob(".corpus-*/tasks/*/completions/*"))) >= kill_after) if kill_after else None
    )
    return _run([*command, "--out", str(out)], done)


def _run(command: Sequence[str], is_enough: Callable[[], bool] | None = None) -> int:
    """Run a command, or kill it when it is enough; return the most memory of one of its processes.

    The memory is a process's own: without files that are mapped, of which the system keeps what fits.
    """
    peak = 0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        watched = psutil.Process(run.pid)
        while run.poll() is None:
            with suppress(psutil.NoSuchProcess):
                used = [one.memory_info() for one in (watched, *watched.children(recursive=True))]
                peak = max([peak, *(one.rss - one.shared for one in used)])
            if is_enough is not None and is_enough():
                run.send_signal(signal.SIGKILL)
                return peak
            time.sleep(_POLL_S)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {run.returncode}")
    return peak


def _compare(planted: Planted, out: Path, outcome: Outcome) -> None:
    """Count what is in the written text and should not be, and the other way round."""
    for code in planted.codes:
        keys = [leak_key(one) for one in planted.sentences if f" {code}" in one]
        kept: set[tuple[int, bool]] = set()
        for document in read_corpus(out, code):
            number, copy = _NAME.match(document[0]).groups()  # type: ignore[union-attr]
            kept.add((int(number), bool(copy)))
            text = leak_key("".join(document))
            outcome.leaks += any(key in text for key in keys)
        duplicates = set(planted.duplicates[code])
        outcome.duplicates += len(duplicates)
        outcome.missed += sum({(one, False), (one, True)} <= kept for one in duplicates)
        outcome.lost += sum(
            (one, False) not in kept for one in range(planted.documents[code]) if one not in duplicates
        )


def _repeat(command: Sequence[str], folder: Path, outcome: Outcome, kills: int, *, ray: bool) -> None:
    """Make a corpus again, killed in between, and on Ray; compare its files with the first."""
    first = _digest(folder / "text")
    tasks = len(list((folder / "src").rglob("*.jsonl")))
    for number in range(kills):
        _make(command, folder / "killed", kill_after=1 + number * (2 * tasks + 15) // kills)
        _make(command, folder / "killed")
        outcome.equal[f"kill {number + 1}"] = _digest(folder / "killed") == first
        shutil.rmtree(folder / "killed")
    if ray:
        _make([*command, "--executor", "ray"], folder / "ray")
        outcome.equal["ray"] = _digest(folder / "ray") == first


def _digest(folder: Path) -> str:
    paths = [
        path for path in sorted((folder / "corpus").rglob("*")) if path.is_file() and path.name[0] != "."
    ]
    both = [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
    return hashlib.sha256("\n".join(both).encode()).hexdigest()
