"""The record that ``harness export`` leaves in the folder it makes; by it such a folder is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

RECORD = "export.json"
MADE_BY = "harness export"


def is_export(folder: Path) -> bool:
    """Says whether ``harness export`` made a folder."""
    try:
        value = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool(value["made_by"] == MADE_BY)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_export(folder: Path) -> dict[str, Any]:
    """Gives the record of an export.

    Raises:
        HarnessError: no export made the folder.
    """
    if not is_export(folder):
        raise HarnessError(
            f"{folder}: wanted a folder that `harness export` made, with {RECORD}; got none; export the model"
        )
    return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
