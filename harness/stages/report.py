"""Puts the numbers of all stages of a run into one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.render import render
from harness.stages.io.write_results import write_found

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``results.json``, ``report.md`` and ``report.html``.

    Raises:
        HarnessError: a cell that the plan declares has no number and no reason.
    """
    render(write_found(context), context.out)
