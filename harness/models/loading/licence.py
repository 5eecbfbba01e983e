"""The licence that a model's card states."""

from __future__ import annotations

import re
from pathlib import Path

CARD = "README.md"


def read_licence(folder: Path) -> str | None:
    """Return the licence in the front matter of a model folder's card; None where it states none."""
    try:
        card = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    licence = re.search(r"^license:\s*(\S+)\s*$", card.split("\n---", 1)[0], re.MULTILINE)
    return licence.group(1) if licence else None
