"""Features of linear baselines: TF-IDF, or static embeddings. A row for each text, or for each word.

Shapes: **N** rows, **V** vocabulary, **D** width of a static embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from harness.data.examples import Example, TextExample, TokenExample
from harness.train.finetuning.encoding import split_words

Features: TypeAlias = Any
"""A matrix with a row for each text, or for each word of all sentences in order; dense or sparse."""

_SMOOTH = 1e-3
_ROOM = 64


def compute_tfidf(train: Sequence[Example], *others: Sequence[Example]) -> list[Features]:
    """Compute TF-IDF features of several parts; the first part determines vocabulary and weights.

    The features of a text are its words and their character n-grams of 1 to 5; those of a word of a sentence
    are the same of the word and of its two neighbours. A view that is empty in the whole first part
    (neighbours, in a list of words) is left out.
    """
    parts = [train, *others]
    views = [[_list_views(part)[place] for part in parts] for place in range(len(_list_views(train)))]
    columns = [view for view in views if any(text.strip() for text in view[0])]
    return [sparse.hstack(blocks).tocsr() for blocks in zip(*map(_weigh, columns), strict=True)]


def _list_views(part: Sequence[Example]) -> list[list[str]]:
    """Return the texts that describe each row: a text or both of a pair; or a word and its neighbours."""
    if any(isinstance(one, TextExample) for one in part):
        return [list(view) for view in zip(*(one.texts for one in part), strict=True)]
    padded = [("", *one.words, "") for one in part if isinstance(one, TokenExample)]
    return [
        [word for words in padded for word in words[shift : shift + len(words) - 2]] for shift in (1, 0, 2)
    ]


def _weigh(texts: Sequence[Sequence[str]]) -> list[Features]:
    """Return the TF-IDF of a view of all parts: of whole words, and of character n-grams."""
    kinds: list[dict[str, Any]] = [
        {"analyzer": "word", "token_pattern": r"\S+"},
        {"analyzer": "char_wb", "ngram_range": (1, 5)},
    ]
    vectorizers = [
        TfidfVectorizer(lowercase=False, sublinear_tf=True, dtype=np.float32, **kind) for kind in kinds
    ]
    for vectorizer in vectorizers:
        vectorizer.fit(texts[0])
    return [sparse.hstack([vectorizer.transform(part) for vectorizer in vectorizers]) for part in texts]


def compute_static_features(
    vectors_VD: NDArray[np.float32], tokenizer: Any, train: Sequence[Example], *others: Sequence[Example]
) -> list[Features]:
    """Compute features from static embeddings: the mean of a text's tokens; a word with its neighbours.

    In a text's mean a token weighs a / (a + p), p being its share of the training part (Arora et al. 2017).
    """
    parts = [train, *others]
    if any(isinstance(one, TokenExample) for one in train):
        return [_average_words(vectors_VD, tokenizer, part) for part in parts]
    ids = [[[_tokenize(tokenizer, text) for text in one.texts] for one in part] for part in parts]
    counts_V = np.bincount(
        [token for row in ids[0] for text in row for token in text], minlength=len(vectors_VD)
    )
    weighted_VD = vectors_VD * (_SMOOTH / (_SMOOTH + counts_V / max(1, counts_V.sum())))[:, None]
    return [np.hstack([_average_rows(weighted_VD, view) for view in zip(*rows, strict=True)]) for rows in ids]


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _average_rows(vectors_VD: NDArray[Any], rows: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Return the mean of each row's vectors, scaled to length 1; zero for an empty row."""
    sums_ND: NDArray[Any] = np.stack([vectors_VD[list(row)].sum(axis=0) for row in rows])
    sums_ND /= np.maximum(np.linalg.norm(sums_ND, axis=1, keepdims=True), 1e-12)
    return sums_ND


def _average_words(vectors_VD: NDArray[Any], tokenizer: Any, part: Sequence[Example]) -> NDArray[Any]:
    rows = []
    for example in part:
        if isinstance(example, TokenExample):
            words = _average_rows(vectors_VD, split_words(example.words, tokenizer, _ROOM))
            padded = np.pad(words, ((1, 1), (0, 0)))
            rows.append(np.hstack([padded[1:-1], padded[:-2], padded[2:]]))
    return np.concatenate(rows)
