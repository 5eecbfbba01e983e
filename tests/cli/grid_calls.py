"""A call in place of the run of a cell; worker processes import it, so it is small."""

from __future__ import annotations

from harness.errors import HarnessError


class FakeCall:
    """Says that it runs; one recipe fails."""

    def __init__(self, planned, runs, timed, checkpoint_s):  # noqa: ARG002 - those of CellCall
        self.timed = timed

    def __call__(self, cell, send):
        send("timed" if self.timed else "untimed")
        if cell.recipe == "cruz2025":
            raise HarnessError("cruz2025: no such thing")
