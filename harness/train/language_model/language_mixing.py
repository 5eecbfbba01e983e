"""Many languages in one corpus, the small ones heard more often than their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from harness.data.batches import Packed
from harness.errors import HarnessError


def shares(sizes: Mapping[str, int], smoothing: float) -> dict[str, float]:
    """Gives each language's share of what is heard: sizeᵅ over the sum of them (Conneau et al. 2020, §3.1).

    Args:
        sizes: language → tokens (or characters).
        smoothing: α; 1 keeps the sizes as they are, 0 makes all languages equal.

    Raises:
        HarnessError: α is not in [0, 1], or a language has nothing.
    """
    if not 0 <= smoothing <= 1:
        raise HarnessError(
            f"pretrain: wanted a smoothing from 0 to 1; got {smoothing}; 0.5 is a usual choice"
        )
    empty = [language for language, size in sizes.items() if size <= 0]
    if empty:
        raise HarnessError(f"pretrain: wanted text for every language; got none for {', '.join(empty)}")
    powers = {language: size**smoothing for language, size in sizes.items()}
    whole = sum(powers.values())
    return {language: power / whole for language, power in powers.items()}


def mix(corpora: Mapping[str, Packed], smoothing: float, seed: int) -> Packed:
    """Gives one corpus as large as all together, in which each language has its smoothed share of tokens.

    Holds: a language's rows are repeated evenly: how often they come differs by at most one.
    """
    sizes = {language: int(packed.lengths.sum()) for language, packed in corpora.items()}
    whole = sum(sizes.values())
    drawn = np.random.default_rng(seed)
    ids, lengths = [], []
    for language, share in shares(sizes, smoothing).items():
        packed = corpora[language]
        times = share * whole / sizes[language]
        rows = np.arange(len(packed))
        extra = drawn.permutation(rows)[: round((times % 1) * len(rows))]
        for row in np.sort(np.concatenate([np.repeat(rows, int(times)), extra])):
            ids.append(packed[row])
            lengths.append(len(packed[row]))
    return Packed(np.concatenate(ids), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def sample_lines(
    corpora: Mapping[str, Sequence[Sequence[str]]], characters: int, smoothing: float
) -> Iterator[str]:
    """Gives lines for a tokenizer to learn from: each language by its share, evenly over its documents.

    Args:
        corpora: language → documents.
        characters: about as many in all.
        smoothing: as in ``shares``.
    """
    sizes = {language: _characters(documents) for language, documents in corpora.items()}
    for language, share in shares(sizes, smoothing).items():
        documents = corpora[language]
        wanted = share * characters
        every = max(1, int(sizes[language] // wanted)) if wanted else 1
        for document in islice(documents, 0, None, every):
            yield from document


def _characters(documents: Sequence[Sequence[str]]) -> int:
    return sum(len(line) for document in documents for line in document)
