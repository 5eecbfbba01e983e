"""Puts the numbers of all stages of a run into one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.render import render, write_results
from harness.stages.files import read_json
from harness.stages.numbers import collect

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``results.json``, ``report.md`` and ``report.html``.

    Raises:
        HarnessError: a cell that the plan declares has no number and no reason.
    """
    manifests = {role: read_json(path / "manifest.json") for role, path in context.inputs.items()}
    found = collect(context.config, manifests)
    found.check({manifest["key"] for manifest in manifests.values()})
    write_results(found, context.out)
    render(found, context.out)
    context.facts["environment"] = found.environment
