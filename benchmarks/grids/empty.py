"""A cell that does nothing; workers import it, so it is small."""

from __future__ import annotations

from typing import Any


class EmptyCall:
    """Does nothing in place of the run of a cell; the arguments are those of `CellCall`."""

    def __init__(self, *_: Any) -> None:
        pass

    def __call__(self, cell: Any, send: Any) -> None:
        """Do nothing."""
