"""Time two revisions in turn: a process each, which reads commands as lines of JSON."""

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


class TimedProcess(Protocol):
    """A process that runs the timed steps, such as `Worker`."""

    def ask(self, **command: Any) -> dict[str, Any]:
        """Return the answer to a command."""


class Worker:
    """A process that runs a revision's package.

    Args:
        package: the folder that holds the revision's ``harness``.
        benchmarks: the folder that holds this ``benchmarks``, the same for every revision.
        folder: its working folder, for scratch files.
        name: name of the log of its errors.
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
        """Return the answer to a command.

        Raises:
            HarnessError: the process ended, or the command failed in it.
        """
        self.send(**command)
        return self.receive()

    def send(self, **command: Any) -> None:
        """Send a command; `receive` returns its answer."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self) -> dict[str, Any]:
        """Return the answer to the last command."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HarnessError(
                f"compare: expected '{self.package}' to be timed; got {answer['error']}; see {self.log}"
            )
        return answer

    def _ended(self) -> HarnessError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() or ["nothing"]
        return HarnessError(f"compare: expected '{self.package}' to be timed; its process ended: {lines[-1]}")

    def close(self) -> None:
        """End the process."""
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


def time_in_turns(
    workers: Mapping[str, TimedProcess], names: Sequence[str], *, rounds: int, seed: int, clock: str = "wall"
) -> dict[str, list[Round]]:
    """Time every step in every round, base and head one right after the other, in shuffled order.

    A turn is as many calls as fill `TURN_S`, the same number for both; its fastest call counts, since other
    work of the machine only adds time. All turns of a step together take about `STEP_S`.

    Args:
        workers: ``base`` and ``head``, with the steps loaded.
        names: names of the steps.
        rounds: most rounds.
        seed: seed of the orders.
        clock: ``wall``, or ``cpu`` for the time the process itself ran.

    Returns:
        nanoseconds of base and head by name, round by round.
    """
    shuffler = random.Random(seed)
    turns = {name: _plan_turns(workers, name, rounds) for name in names}
    taken: dict[str, list[Round]] = {name: [] for name in names}
    order, pair = list(names), [BASE, HEAD]
    for number in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            if number < turns[name].rounds:
                shuffler.shuffle(pair)
                turn = {one: _fastest(workers[one], name, turns[name].calls, clock) for one in pair}
                taken[name].append((turn[BASE], turn[HEAD]))
    return taken


def _fastest(worker: TimedProcess, name: str, calls: int, clock: str) -> float:
    answer = worker.ask(do="time", name=name, calls=calls, clock=clock)
    return float(min(answer["durations_ns"]))


class Turns(NamedTuple):
    """The calls in a turn of a step, and the rounds that it takes part in."""

    calls: int
    rounds: int


def _plan_turns(workers: Mapping[str, TimedProcess], name: str, rounds: int) -> Turns:
    """Warm both up, and return fewer rounds for a long step, whose time varies less."""
    _fastest(workers[HEAD], name, 2, "wall")
    taken_s = max(1e-9, _fastest(workers[BASE], name, 2, "wall") / 1e9)
    calls = max(1, min(_MOST_CALLS, round(TURN_S / taken_s)))
    return Turns(calls, max(min(rounds, FEWEST_ROUNDS), min(rounds, round(STEP_S / (2 * calls * taken_s)))))
