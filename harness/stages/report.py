"""Collect the numbers of all stages of a run in one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.render import write_report
from harness.stages.io.facts import ReportFacts
from harness.stages.io.results import write_collected

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> ReportFacts:
    """Write ``results.json``, ``report.md`` and ``report.html``.

    Raises:
        HarnessError: a cell that the plan declares has neither a number nor a reason.
    """
    results = write_collected(context)
    write_report(results, context.out)
    return ReportFacts(environment=results.environment)
