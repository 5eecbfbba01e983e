"""Collect the numbers of several recipes, or of one recipe's variants, in one leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.leaderboard import write_leaderboard
from harness.stages.io.facts import ReportFacts
from harness.stages.io.results import write_collected

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> ReportFacts:
    """Write ``results.json``, ``leaderboard.md`` and ``leaderboard.html``.

    Raises:
        HarnessError: a cell that the plan declares has neither a number nor a reason.
    """
    results = write_collected(context)
    write_leaderboard(results, context.out)
    return ReportFacts(environment=results.environment)
