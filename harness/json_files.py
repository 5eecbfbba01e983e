"""Read and write JSON files in the one form that all of the project's files have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8."""
    return json.loads(path.read_text(encoding="utf-8"))


def format_json(value: Any) -> str:
    """Return a value as indented JSON; equal values give equal text."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON in UTF-8; equal values give equal bytes."""
    path.write_text(format_json(value), encoding="utf-8")
