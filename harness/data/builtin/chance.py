"""Random sources that give the same draws on every machine and Python."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

One = TypeVar("One")


def drawer(*name: object) -> random.Random:
    """Gives a random source that depends on its name and on nothing else."""
    digest = hashlib.sha256(":".join(map(str, name)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def choose(source: random.Random, options: Sequence[One]) -> One:
    """Gives one of the options, each as likely as the other."""
    return options[int(source.random() * len(options))]
