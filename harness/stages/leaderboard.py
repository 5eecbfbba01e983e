"""Puts the numbers of several recipes, or of one recipe's variants, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.leaderboard import render
from harness.stages.io.write_results import write_found

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``results.json``, ``leaderboard.md`` and ``leaderboard.html``.

    Raises:
        HarnessError: a cell that the plan declares has no number and no reason.
    """
    render(write_found(context), context.out)
