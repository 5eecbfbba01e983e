"""Word vectors from counts alone: which tokens stand in the same rows, and which beside each other.

A masked-language model finds likeness of topic last, after millions of tokens; counting finds it in seconds.
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


def token_vectors(
    packed: Packed, vocabulary: int, width: int, *, ignored: Collection[int], seed: int
) -> Vectors:
    """Gives a unit vector for each token: the row of √-weighted factors of its positive mutual information.

    Three kinds of context stand side by side: the tokens of the same row, which tell the topic; the token
    before and the token after, which tell the part of speech. Their positive pointwise mutual information is
    factorised (Levy and Goldberg 2014: what skip-gram does implicitly; Levy et al. 2015: factors weighted by
    the square root of the singular values). A random rotation then makes all dimensions alike: none matters
    more by its number.

    Holds: equal arguments give equal vectors; a token without any context has a zero vector.

    Args:
        packed: rows of token ids; where there are too many pairs to count, evenly spaced rows stand for all.
        vocabulary: number of tokens.
        width: number of dimensions.
        ignored: tokens that are no context of the same row, as the special ones.
        seed: of the factorisation and the rotation.

    Returns:
        V × D.
    """
    before_VV = _beside(packed, vocabulary)
    contexts = (_together(packed, vocabulary, ignored), before_VV, before_VV.T.tocsr())
    information = sparse.hstack([_mutual_information(counts.tocoo()) for counts in contexts], format="csr")
    left_VD, values_D, _ = randomized_svd(information, width, n_iter=3, random_state=seed)
    vectors_VD = left_VD * np.sqrt(values_D)
    rotation_DD, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    norms_V1 = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    units_VD = np.divide(vectors_VD, norms_V1, out=np.zeros_like(vectors_VD), where=norms_V1 > 1e-9)
    return np.asarray(units_VD @ rotation_DD, np.float32)


def _together(packed: Packed, vocabulary: int, ignored: Collection[int]) -> Any:
    """Counts how often two different tokens stand in one row; a sparse V × V."""
    lengths = packed.lengths
    every = max(1, -(-int((lengths**2).sum()) // _MOST_PAIRS))
    chosen = np.arange(0, len(packed), every)
    ids_N = np.concatenate([packed[int(row)] for row in chosen])
    places_N = np.repeat(np.arange(len(chosen)), lengths[chosen])
    context_N = ~np.isin(ids_N, list(ignored))
    held_RV = _counts(places_N[context_N], ids_N[context_N], (len(chosen), vocabulary))
    pairs_VV = (held_RV.T @ held_RV).tocsr()
    pairs_VV.setdiag(0)
    return pairs_VV


def _beside(packed: Packed, vocabulary: int) -> Any:
    """Counts which token stands right before which; the first of a row's special tokens tells its start."""
    inner_N = np.ones(len(packed.ids) - 1, bool)
    inner_N[packed.offsets[1:-1] - 1] = False
    return _counts(packed.ids[1:][inner_N], packed.ids[:-1][inner_N], (vocabulary, vocabulary))


def _counts(
    rows_N: npt.NDArray[np.integer[Any]], columns_N: npt.NDArray[np.integer[Any]], shape: tuple[int, int]
) -> Any:
    return sparse.csr_matrix((np.ones(len(rows_N), np.float32), (rows_N, columns_N)), shape)


def _mutual_information(pairs_VV: Any) -> Any:
    """Gives max(0, log p(a, b) / (p(a) p(b)^0.75)) for the pairs that were seen."""
    token_V = np.asarray(pairs_VV.sum(axis=1)).ravel()
    context_V = np.asarray(pairs_VV.sum(axis=0)).ravel() ** _CONTEXT_POWER
    context_V /= max(context_V.sum(), 1e-12)
    seen = pairs_VV.data > 0
    rows, columns, counts = pairs_VV.row[seen], pairs_VV.col[seen], pairs_VV.data[seen]
    values = np.log(counts / (token_V[rows] * context_V[columns]))
    positive = values > 0
    return sparse.csr_matrix((values[positive], (rows[positive], columns[positive])), pairs_VV.shape)
