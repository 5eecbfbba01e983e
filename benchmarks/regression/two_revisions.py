"""Two revisions timed in turn: one process each, told what to run by lines of JSON."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from benchmarks.regression.verdict import Round
from harness.errors import HarnessError

BASE, HEAD = "base", "head"
TURN_S, STEP_S = 0.02, 2.0
FEWEST_ROUNDS = 5
_MOST_CALLS = 500


class Asked(Protocol):
    """Who runs what is timed; `Worker` is one."""

    def ask(self, **command: Any) -> dict[str, Any]:
        """Gives the answer to a command."""


class Worker:
    """A process that runs a revision's package.

    Args:
        package: the folder that holds the revision's ``harness``.
        benchmarks: the folder that holds this ``benchmarks``, the same for every revision.
        folder: scratch, its working folder.
        name: of the file its errors go to.
        settings: environment variables.
    """

    def __init__(
        self, package: Path, benchmarks: Path, folder: Path, *, name: str, settings: Mapping[str, str]
    ) -> None:
        self.package, self.log = package, folder / f"{name}.log"
        paths = os.pathsep.join((str(package), str(benchmarks)))
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", **settings}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.regression.worker"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ask(self, **command: Any) -> dict[str, Any]:
        """Gives the answer to a command.

        Raises:
            HarnessError: the process ended, or what was asked failed there.
        """
        self.tell(**command)
        return self.hear()

    def tell(self, **command: Any) -> None:
        """Sends a command whose answer is heard later."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def hear(self) -> dict[str, Any]:
        """Gives the answer to what was told."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HarnessError(
                f"compare: wanted '{self.package}' to be timed; got {answer['error']}; see {self.log}"
            )
        return answer

    def _ended(self) -> HarnessError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() or ["nothing"]
        return HarnessError(f"compare: wanted '{self.package}' to be timed; its process ended: {lines[-1]}")

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def take(
    workers: Mapping[str, Asked], names: Sequence[str], *, rounds: int, seed: int, clock: str = "wall"
) -> dict[str, list[Round]]:
    """Times every name in every round, base and head right after one another, in shuffled order.

    A turn is as many calls as fill `TURN_S`, as many for both; its fastest call counts, as whatever else the
    machine does only adds. All turns of a step together take about `STEP_S`.

    Args:
        workers: ``base`` and ``head``; what is timed is loaded.
        names: what to time.
        rounds: how many, at most.
        seed: of the orders.
        clock: ``wall``, or ``cpu`` for the time the process itself ran.

    Returns:
        nanoseconds of base and head by name, round by round.
    """
    shuffler = random.Random(seed)
    plans = {name: _plan(workers, name, rounds) for name in names}
    taken: dict[str, list[Round]] = {name: [] for name in names}
    order, pair = list(names), [BASE, HEAD]
    for number in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            if number < plans[name].rounds:
                shuffler.shuffle(pair)
                turn = {one: _fastest(workers[one], name, plans[name].calls, clock) for one in pair}
                taken[name].append((turn[BASE], turn[HEAD]))
    return taken


def _fastest(worker: Asked, name: str, calls: int, clock: str) -> float:
    answer = worker.ask(do="time", name=name, calls=calls, clock=clock)
    return float(min(answer["durations_ns"]))


class Plan(NamedTuple):
    """How many calls a turn of a step has, and how many rounds it is in."""

    calls: int
    rounds: int


def _plan(workers: Mapping[str, Asked], name: str, rounds: int) -> Plan:
    """Warms both up; what takes long is in fewer rounds, as it evens more out by itself."""
    _fastest(workers[HEAD], name, 2, "wall")
    taken_s = max(1e-9, _fastest(workers[BASE], name, 2, "wall") / 1e9)
    calls = max(1, min(_MOST_CALLS, round(TURN_S / taken_s)))
    return Plan(calls, max(min(rounds, FEWEST_ROUNDS), min(rounds, round(STEP_S / (2 * calls * taken_s)))))
