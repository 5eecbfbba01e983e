from __future__ import annotations

import numpy as np
import pytest

from harness.data.batches import Packed
from harness.train.language_model.cooccurrence import compute_token_vectors

VOCABULARY = 14
SPECIAL = {0, 1}


def _packed(rows: list[list[int]]) -> Packed:
    lengths = [len(row) for row in rows]
    return Packed(np.concatenate(rows).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))


@pytest.fixture(scope="module")
def packed() -> Packed:
    """Two topics of four words (2–5, 6–9), function words (10, 11) before them; 12 and 13 never occur."""
    drawn = np.random.default_rng(0)
    rows = []
    for number in range(300):
        words = drawn.choice(range(2, 6) if number % 2 else range(6, 10), 6)
        inner = [one for word in words for one in (10 if word % 2 else 11, int(word))]
        rows.append([0, *inner, 1])
    return _packed(rows)


def _similarity(vectors_VD: np.ndarray, first: int, second: int) -> float:
    return float(vectors_VD[first] @ vectors_VD[second])


def test_words_of_a_topic_are_similar(packed: Packed) -> None:
    vectors_VD = compute_token_vectors(packed, VOCABULARY, 8, ignored=SPECIAL, seed=1)
    within = np.mean([_similarity(vectors_VD, a, b) for a, b in ((2, 4), (3, 5), (6, 8), (7, 9))])
    across = np.mean(
        [_similarity(vectors_VD, a, a + step) for a in (2, 3, 4, 5) for step in (2, 4) if a + step > 5]
    )
    assert within > across + 0.1


def test_neighbours_distinguish_words_of_the_same_rows(packed: Packed) -> None:
    vectors_VD = compute_token_vectors(packed, VOCABULARY, 8, ignored=SPECIAL, seed=1)
    assert _similarity(vectors_VD, 2, 4) > _similarity(vectors_VD, 2, 3) + 0.1


def test_vectors_are_repeatable_units_or_zero_without_context(packed: Packed) -> None:
    vectors_VD = compute_token_vectors(packed, VOCABULARY, 4, ignored=SPECIAL, seed=1)
    norms = np.linalg.norm(vectors_VD, axis=1)
    np.testing.assert_allclose(norms[2:12], 1, atol=1e-5)
    assert norms[12] == norms[13] == 0
    np.testing.assert_array_equal(
        vectors_VD, compute_token_vectors(packed, VOCABULARY, 4, ignored=SPECIAL, seed=1)
    )
    assert not np.allclose(vectors_VD, compute_token_vectors(packed, VOCABULARY, 4, ignored=SPECIAL, seed=2))


def test_the_first_dimension_has_no_larger_share(packed: Packed) -> None:
    vectors_VD = compute_token_vectors(packed, VOCABULARY, 4, ignored=SPECIAL, seed=1)
    shares = (vectors_VD[2:10] ** 2).mean(axis=0)
    assert shares.argmax() != 0 or shares.max() < 0.6
