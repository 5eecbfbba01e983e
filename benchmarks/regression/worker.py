"""The process that runs one revision's package: it reads a command a line and writes an answer a line.

The package is the first ``harness`` on the path; these benchmarks are the same for every revision.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


class Server:
    """Answer commands with the steps that were loaded."""

    def __init__(self) -> None:
        self.steps: dict[str, Callable[[], object]] = {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a command; a failure is an answer with ``error``."""
        try:
            arguments = dict(command)
            answer: dict[str, Any] = getattr(self, arguments.pop("do"))(**arguments)
        except Exception as error:
            return {"error": describe_error(error)}
        return answer

    def about(self) -> dict[str, Any]:
        """Return the folder of the package, and the implementation of the ops."""
        import harness  # noqa: PLC0415 — whichever revision's it is
        from harness import ops  # noqa: PLC0415

        return {"package": str(Path(harness.__file__).parents[1]), "ops": ops.implementation()}

    def prepare(self, folder: str) -> dict[str, Any]:
        """Make the models that are timed and counted, and return the counts."""
        from benchmarks.regression import counts, models  # noqa: PLC0415

        models.make_models(Path(folder))
        return {"counts": counts.count_models(Path(folder))}

    def load(self, folder: str, names: list[str]) -> dict[str, Any]:
        """Make the steps, and return why some could not be made."""
        from benchmarks.regression.table import find_entry  # noqa: PLC0415

        refused = {}
        for name in names:
            try:
                step = find_entry(name).make(Path(folder))
                step()
            except Exception as error:
                refused[name] = describe_error(error)
                continue
            self.steps[name] = step
        return {"refused": refused}

    def time(self, name: str, calls: int, clock: str) -> dict[str, Any]:
        """Return the nanoseconds of every call."""
        step, now = self.steps[name], CLOCKS[clock]
        durations = []
        gc.collect(0)
        gc.disable()
        for _ in range(calls):
            start = now()
            step()
            durations.append(now() - start)
        gc.enable()
        return {"durations_ns": durations}


def describe_error(error: Exception) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"


def serve(commands: TextIO, answers: TextIO) -> None:
    """Answer until there are no more commands."""
    server = Server()
    for line in commands:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # prints of libraries are no answers
    serve(sys.stdin, answers)
