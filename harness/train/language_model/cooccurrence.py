"""Word vectors from counts alone: which tokens occur in the same rows, and which next to each other.

A masked-language model learns similarity of topic last, after millions of tokens; counting takes seconds.
A small teacher therefore starts from such vectors, and learns grammar and context on top of them.

Shapes: **R** rows, **N** tokens of the text, **V** vocabulary, **D** width.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from harness.data.batches import Packed

_CONTEXT_POWER = 0.75  # makes rare contexts count less (Levy, Goldberg and Dagan 2015, section 3.1)
_MOST_PAIRS = 10**8

Vectors = npt.NDArray[np.float32]


def compute_token_vectors(
    packed: Packed, vocabulary: int, width: int, *, ignored: Collection[int], seed: int
) -> Vectors:
    """Compute a unit vector for each token: √-weighted factors of its positive mutual information.

    Three kinds of context are concatenated: the tokens of the same row, which depend on the topic; the token
    before and the token after, which depend on the part of speech. Their positive pointwise mutual
    information is factorised (Levy and Goldberg 2014: what skip-gram does implicitly; Levy et al. 2015:
    factors weighted by the square root of the singular values). A random rotation then makes all dimensions
    equally important.

    Invariants: equal arguments give equal vectors; a token without any context has a zero vector.

    Args:
        packed: rows of token ids; where there are too many pairs to count, evenly spaced rows are counted.
        vocabulary: number of tokens.
        width: number of dimensions.
        ignored: tokens that are no context of a row, such as special tokens.
        seed: of the factorisation and the rotation.

    Returns:
        V × D.
    """
    before_VV = _count_neighbours(packed, vocabulary)
    contexts = (_count_shared_rows(packed, vocabulary, ignored), before_VV, before_VV.T.tocsr())
    information = sparse.hstack(
        [_compute_mutual_information(counts.tocoo()) for counts in contexts], format="csr"
    )
    left_VD, values_D, _ = randomized_svd(information, width, n_iter=3, random_state=seed)
    vectors_VD = left_VD * np.sqrt(values_D)
    rotation_DD, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    norms_V1 = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    units_VD = np.divide(vectors_VD, norms_V1, out=np.zeros_like(vectors_VD), where=norms_V1 > 1e-9)
    return np.asarray(units_VD @ rotation_DD, np.float32)


def _count_shared_rows(packed: Packed, vocabulary: int, ignored: Collection[int]) -> Any:
    """Count how often two different tokens occur in one row; a sparse V × V."""
    lengths = packed.lengths
    every = max(1, -(-int((lengths**2).sum()) // _MOST_PAIRS))
    chosen = np.arange(0, len(packed), every)
    ids_N = np.concatenate([packed[int(row)] for row in chosen])
    places_N = np.repeat(np.arange(len(chosen)), lengths[chosen])
    context_N = ~np.isin(ids_N, list(ignored))
    contains_RV = _make_counts(places_N[context_N], ids_N[context_N], (len(chosen), vocabulary))
    pairs_VV = (contains_RV.T @ contains_RV).tocsr()
    pairs_VV.setdiag(0)
    return pairs_VV


def _count_neighbours(packed: Packed, vocabulary: int) -> Any:
    """Count which token occurs right before which; the first special token marks the start of a row."""
    inner_N = np.ones(len(packed.ids) - 1, bool)
    inner_N[packed.offsets[1:-1] - 1] = False
    return _make_counts(packed.ids[1:][inner_N], packed.ids[:-1][inner_N], (vocabulary, vocabulary))


def _make_counts(
    rows_N: npt.NDArray[np.integer[Any]], columns_N: npt.NDArray[np.integer[Any]], shape: tuple[int, int]
) -> Any:
    return sparse.csr_matrix((np.ones(len(rows_N), np.float32), (rows_N, columns_N)), shape)


def _compute_mutual_information(pairs_VV: Any) -> Any:
    """Compute max(0, log p(a, b) / (p(a) p(b)^0.75)) of the pairs that occur."""
    token_V = np.asarray(pairs_VV.sum(axis=1)).ravel()
    context_V = np.asarray(pairs_VV.sum(axis=0)).ravel() ** _CONTEXT_POWER
    context_V /= max(context_V.sum(), 1e-12)
    occurs = pairs_VV.data > 0
    rows, columns, counts = pairs_VV.row[occurs], pairs_VV.col[occurs], pairs_VV.data[occurs]
    values = np.log(counts / (token_V[rows] * context_V[columns]))
    positive = values > 0
    return sparse.csr_matrix((values[positive], (rows[positive], columns[positive])), pairs_VV.shape)
