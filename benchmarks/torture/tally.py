"""Count what was survived, and try things in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Tally:
    """The tries of one fault.

    Attributes:
        fault: what was done.
        tries: how often.
        lost: a line for each try that was not survived.
    """

    fault: str
    tries: int = 0
    lost: list[str] = field(default_factory=list)

    def add(self, problem: str | None) -> None:
        """Count a try; `problem` is how it was not survived."""
        self.tries += 1
        if problem is not None:
            self.lost.append(" ".join(problem.split())[:300])

    @property
    def survived(self) -> int:
        """How many tries were survived."""
        return self.tries - len(self.lost)

    def describe(self) -> str:
        """Return the counts as a line."""
        shown = "".join(f"\n  {line}" for line in self.lost[:10])
        return f"{self.fault}: {self.survived}/{self.tries} survived{shown}"

    def record(self) -> dict[str, object]:
        """Return the counts as plain data."""
        return {"fault": self.fault, "tries": self.tries, "lost": self.lost}


def fork(work: Callable[[], None]) -> int:
    """Run a function in a process of its own, without output; return the process's id at once.

    The process exits with 0, with 3 for an error in one line, or with 70 for any other error.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        code = run(work)[0]
    finally:
        os._exit(code)


def run(work: Callable[[], object]) -> tuple[int, str]:
    """Call a function; return 0, or 3 with the line of an error that a user can fix, or 70 with another."""
    from harness.errors import HarnessError  # noqa: PLC0415 - after a fork

    try:
        work()
    except HarnessError as error:
        one_line = "\n" not in str(error)
        return (3, str(error)) if one_line else (70, f"several lines: {error}")
    except Exception as error:  # what a user would see as an internal error
        return 70, f"{type(error).__name__}: {error}"
    return 0, ""


def wait(child: int, limit_s: float = 600.0) -> int:
    """Return a process's exit code, negative for a signal; end it where it takes too long (−99)."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -99
