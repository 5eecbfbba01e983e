"""What every stage that tells of a whole plan begins with: the numbers gathered, checked and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.json_files import read_json
from harness.report.render import write_results
from harness.stages.io.results import collect

if TYPE_CHECKING:
    from harness.pipeline.execute import Context
    from harness.report.results import Results


def write_found(context: Context) -> Results:
    """Writes ``results.json`` out of the manifests of the stage's inputs; gives what it holds.

    Raises:
        HarnessError: a cell that the plan declares has no number and no reason.
    """
    manifests = {role: read_json(path / "manifest.json") for role, path in context.inputs.items()}
    found = collect(context.config, manifests)
    found.check({manifest["key"] for manifest in manifests.values()})
    write_results(found, context.out)
    context.facts["environment"] = found.environment
    return found
