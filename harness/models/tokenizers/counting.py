"""Count the tokens and the characters of text; the text is streamed, so that memory stays bounded."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from harness.models.loading.tokenizer_json import bare_backend

_CHUNK_LINES = 2048
_MOST_WORDS = 1 << 18
"""So many different words are held at once."""

Counts = NDArray[np.int64]
_Item = TypeVar("_Item")


def count_tokens(
    tokenizer: PreTrainedTokenizerBase, lines: Iterable[str], progress: Callable[[int], None] | None = None
) -> Counts:
    """Count how often each id occurs in text; special tokens are not added.

    The tokenizer's words, as its own normaliser and pre-tokeniser find them, are counted first, and each
    different word is then tokenised once: the counts are those of the lines tokenised whole.

    Args:
        tokenizer: of the ids.
        lines: the text; read once, a chunk at a time.
        progress: called after each chunk with the number of lines read so far.
    """
    counter = _WordCounter(bare_backend(tokenizer), len(tokenizer))
    read = 0
    for chunk in _chunks(lines):
        counter.add(chunk)
        read += len(chunk)
        if progress is not None:
            progress(read)
    return counter.finish()


class _WordCounter:
    """Counts ids by words, of which a bounded number is held at once.

    Lines with the text of an added token are tokenised whole, since such a token is looked for before words.
    """

    def __init__(self, backend: Tokenizer, num_ids: int) -> None:
        self._backend, self._model = backend, backend.model
        self._normalizer, self._pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        self._counts = np.zeros(num_ids, dtype=np.int64)
        self._words: Counter[str] = Counter()
        added = {token.content for token in backend.get_added_tokens_decoder().values()}
        texts = sorted({*added, *map(self._normalize, added)} - {""})
        self._added = re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    def add(self, lines: Sequence[str]) -> None:
        whole = []
        for line in lines:
            text = self._normalize(line)
            if self._pre_tokenizer is None or self._added.search(line) or self._added.search(text):
                whole.append(line)
            else:
                self._words.update(word for word, _ in self._pre_tokenizer.pre_tokenize_str(text))
        for encoding in self._backend.encode_batch_fast(whole, add_special_tokens=False):
            self._counts += np.bincount(np.asarray(encoding.ids, np.int64), minlength=len(self._counts))
        if len(self._words) > _MOST_WORDS:
            self._tokenize_words()

    def finish(self) -> Counts:
        self._tokenize_words()
        return self._counts

    def _normalize(self, text: str) -> str:
        return str(self._normalizer.normalize_str(text)) if self._normalizer is not None else text

    def _tokenize_words(self) -> None:
        ids, numbers = array("q"), array("q")
        for word, number in self._words.items():
            for token in self._model.tokenize(word):
                ids.append(token.id)
                numbers.append(number)
        np.add.at(self._counts, np.asarray(ids), np.asarray(numbers))
        self._words.clear()


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
