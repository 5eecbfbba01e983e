"""Count the tokens and the characters of text; the text is streamed, so that memory stays bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from harness.models.loading.tokenizer_json import bare_backend

_CHUNK_LINES = 2048

Counts = NDArray[np.int64]
_Item = TypeVar("_Item")


def count_tokens(
    tokenizer: PreTrainedTokenizerBase, lines: Iterable[str], progress: Callable[[int], None] | None = None
) -> Counts:
    """Count how often each id occurs in text; special tokens are not added.

    Args:
        tokenizer: of the ids.
        lines: the text; read once, a chunk at a time.
        progress: called after each chunk with the number of lines read so far.
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


def count_documents(
    tokenizer: PreTrainedTokenizerBase,
    documents: Iterable[Sequence[str]],
    progress: Callable[[int], None] | None = None,
) -> tuple[Counts, int]:
    """Count in how many documents each id occurs; return the counts and the number of documents.

    Args:
        tokenizer: of the ids.
        documents: each a sequence of lines; a text without documents has one line in each.
        progress: called after each chunk with the number of documents read so far.
    """
    backend = bare_backend(tokenizer)
    counts, read = np.zeros(len(tokenizer), dtype=np.int64), 0
    for chunk in _chunks(documents):
        lines = [line for document in chunk for line in document]
        owners = np.repeat(np.arange(len(chunk)), [len(document) for document in chunk])
        encodings = backend.encode_batch_fast(lines, add_special_tokens=False)
        ids = [np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings]
        pairs = [line + owner * len(counts) for line, owner in zip(ids, owners.tolist(), strict=True)]
        unique = np.unique(np.concatenate([*pairs, np.empty(0, np.int64)]))
        counts += np.bincount(unique % len(counts), minlength=len(counts))
        read += len(chunk)
        if progress is not None:
            progress(read)
    return counts, read


def count_characters(tokenizer: PreTrainedTokenizerBase, lines: Iterable[str]) -> Counter[str]:
    """Count how often each character occurs in text after the tokenizer's normaliser."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(normalizer.normalize_str(line) if normalizer is not None else line)
    return counts


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    stream = iter(items)
    while chunk := list(islice(stream, _CHUNK_LINES)):
        yield chunk
