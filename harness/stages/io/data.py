"""Name parts of a data folder as inputs of a stage, so that changed data changes the keys, and find them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.sources import DataSource

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

DATA = "data:"
"""The beginning of roles for parts of a data folder: ``data:corpus/mt``, ``data:topic/mt/test.tsv``."""


def data_inputs(root: Path, names: list[str]) -> dict[str, Path]:
    """Return the inputs of a stage that reads files or folders of a data folder, named relative to it."""
    return {f"{DATA}{name}": root / name for name in names}


def find_source(context: Context, kind: str, named: str | None = None) -> DataSource:
    """Return ``builtin``, ``hub``, or the data folder that contains the stage's inputs.

    Args:
        context: of the stage.
        kind: ``corpus``, or a task; corpus and tasks may come from two folders.
        named: the source where there is no folder; the config's ``source`` by default.
    """
    for role, path in context.inputs.items():
        if role.startswith(f"{DATA}{kind}/"):
            return path.parents[role.count("/")]
    return named or str(context.config["source"])
