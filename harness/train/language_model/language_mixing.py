"""Mix many languages into one corpus, small languages more often than their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from harness.data.batches import Packed
from harness.errors import HarnessError


def compute_shares(sizes: Mapping[str, int], smoothing: float) -> dict[str, float]:
    """Return each language's share of the mixture: sizeᵅ / Σ sizeᵅ (Conneau et al. 2020, §3.1).

    Args:
        sizes: language → tokens (or characters).
        smoothing: α; 1 keeps the sizes as they are, 0 makes all languages equal.

    Raises:
        HarnessError: α is not in [0, 1], or a language has no text.
    """
    if not 0 <= smoothing <= 1:
        raise HarnessError(
            f"pretrain: expected a smoothing from 0 to 1; got {smoothing}; 0.5 is a usual choice"
        )
    empty = [language for language, size in sizes.items() if size <= 0]
    if empty:
        raise HarnessError(f"pretrain: expected text for every language; got none for {', '.join(empty)}")
    powers = {language: size**smoothing for language, size in sizes.items()}
    total = sum(powers.values())
    return {language: power / total for language, power in powers.items()}


def mix_corpora(corpora: Mapping[str, Packed], smoothing: float, seed: int) -> Packed:
    """Return a corpus as large as all together, in which each language has its smoothed share of tokens.

    Invariants: a language's rows are repeated evenly: their numbers of copies differ by at most 1.
    """
    sizes = {language: int(packed.lengths.sum()) for language, packed in corpora.items()}
    total = sum(sizes.values())
    drawn = np.random.default_rng(seed)
    ids, lengths = [], []
    for language, share in compute_shares(sizes, smoothing).items():
        packed = corpora[language]
        times = share * total / sizes[language]
        rows = np.arange(len(packed))
        extra = drawn.permutation(rows)[: round((times % 1) * len(rows))]
        for row in np.sort(np.concatenate([np.repeat(rows, int(times)), extra])):
            ids.append(packed[row])
            lengths.append(len(packed[row]))
    return Packed(np.concatenate(ids), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def sample_lines(
    corpora: Mapping[str, Sequence[Sequence[str]]], characters: int, smoothing: float
) -> Iterator[str]:
    """Yield lines that a tokenizer learns from: of each language its share, evenly over its documents.

    Args:
        corpora: language → documents.
        characters: about how many in all.
        smoothing: as in `compute_shares`.
    """
    sizes = {language: _count_characters(documents) for language, documents in corpora.items()}
    for language, share in compute_shares(sizes, smoothing).items():
        documents = corpora[language]
        number = share * characters
        every = max(1, int(sizes[language] // number)) if number else 1
        for document in islice(documents, 0, None, every):
            yield from document


def _count_characters(documents: Sequence[Sequence[str]]) -> int:
    return sum(len(line) for document in documents for line in document)
