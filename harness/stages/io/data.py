"""Where a stage's data comes from, and what the plan must hash so that changed data makes new results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.sources import DataSource

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

DATA = "data:"
"""Roles that begin so name what a data folder holds: ``data:corpus/mt``, ``data:topic/mt/test.tsv``."""


def data_inputs(root: Path, names: list[str]) -> dict[str, Path]:
    """Gives the inputs of a stage that reads files or folders of a data folder, named from it."""
    return {f"{DATA}{name}": root / name for name in names}


def source_of(context: Context, kind: str, named: str | None = None) -> DataSource:
    """Gives ``builtin``, ``hub``, or the data folder that the stage's inputs lie in.

    Args:
        context: of the stage.
        kind: what is to be read: ``corpus``, or a task; corpus and tasks may lie in two folders.
        named: the source where no folder is; the config's ``source`` if none.
    """
    for role, path in context.inputs.items():
        if role.startswith(f"{DATA}{kind}/"):
            return path.parents[role.count("/")]
    return named or str(context.config["source"])
