"""Where a stage's data comes from, and what the plan must hash so that changed data makes new results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.sources import DataSource

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

DATA = "data:"
"""Roles that begin so name folders of a data folder: ``data:corpus/mt``."""


def data_inputs(root: Path, folders: list[str]) -> dict[str, Path]:
    """Gives the inputs of a stage that reads folders of a data folder; those not there are left out."""
    return {f"{DATA}{name}": root / name for name in folders if (root / name).is_dir()}


def source_of(context: Context, kind: str, named: str | None = None) -> DataSource:
    """Gives ``builtin``, ``hub``, or the data folder that the stage's inputs lie in.

    Args:
        context: of the stage.
        kind: what is to be read: ``corpus``, or a task; corpus and tasks may lie in two folders.
        named: the source where no folder is; the config's ``source`` if none.
    """
    for role, path in context.inputs.items():
        if role.startswith(f"{DATA}{kind}/"):
            return path.parents[1]
    return named or str(context.config["source"])
