"""A digest of any value that can be written as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel


def _plain(value: Any) -> Any:
    """Return a value as JSON types; refuse a type that has several ways to be written."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"cannot digest a {type(value).__name__}")


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a value: keys sorted, no spaces, no NaN.

    Invariants: equal values have equal texts, whatever the order of their keys; a tuple equals a list.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_plain
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
