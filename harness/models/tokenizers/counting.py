"""How often each token, and each character, occurs in text; streams, so that memory stays bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from harness.models.backend import bare_backend

_CHUNK_LINES = 2048

Counts = NDArray[np.int64]


def count_tokens(
    tokenizer: PreTrainedTokenizerBase, lines: Iterable[str], progress: Callable[[int], None] | None = None
) -> Counts:
    """Gives for each id how often text yields it, special tokens not added.

    Args:
        tokenizer: whose ids to count.
        lines: the text; read once, a chunk at a time.
        progress: told the number of lines read so far, after each chunk.
    """
    backend = bare_backend(tokenizer)
    counts = np.zeros(len(tokenizer), dtype=np.int64)
    read = 0
    for chunk in _chunks(lines):
        encodings = backend.encode_batch_fast(chunk, add_special_tokens=False)
        ids = np.concatenate([np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings])
        counts += np.bincount(ids, minlength=len(counts))
        read += len(chunk)
        if progress is not None:
            progress(read)
    return counts


def count_characters(tokenizer: PreTrainedTokenizerBase, lines: Iterable[str]) -> Counter[str]:
    """Gives how often each character occurs in text, as the tokenizer's normaliser leaves it."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(normalizer.normalize_str(line) if normalizer is not None else line)
    return counts


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(lines)
    while chunk := list(islice(stream, _CHUNK_LINES)):
        yield chunk
