"""How many rows of logits an op holds at once."""

from __future__ import annotations

from harness.ops import checks


def default_chunk_size(num_rows: int) -> int:
    """Return how many rows of logits to hold: a quarter of all, 128 at least and 1024 at most."""
    return max(128, min(1024, num_rows // 4 // 16 * 16))


def choose_chunk_size(op: str, chunk_size: int | None, num_rows: int) -> int:
    """Return the caller's chunk size if it is a whole number above zero, the default if it is ``None``."""
    if chunk_size is None:
        return default_chunk_size(num_rows)
    if chunk_size < 1:
        raise checks.fault(op, "chunk_size", "1 row or more", chunk_size)
    return chunk_size
