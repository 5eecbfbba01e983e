"""Random sources with the same draws on every machine and Python."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

Option = TypeVar("Option")


def seed_random(*name: object) -> random.Random:
    """Return a random source that depends on its name alone."""
    digest = hashlib.sha256(":".join(map(str, name)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def choose(source: random.Random, options: Sequence[Option]) -> Option:
    """Return one of the options, all equally likely."""
    return options[int(source.random() * len(options))]
