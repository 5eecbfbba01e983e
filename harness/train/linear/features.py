"""Features for linear baselines: TF-IDF of characters, or static embeddings. A row a text, or a word.

Shapes: **N** rows, **V** vocabulary, **D** width of a static embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from harness.data.examples import Example, TextExample, TokenExample, texts_of
from harness.train.finetuning.encoding import pieces_of

Features: TypeAlias = Any
"""A matrix with a row for each text, or for each word of all sentences in order; dense or sparse."""

_SMOOTH = 1e-3
_ROOM = 64


def tfidf(train: Sequence[Example], *others: Sequence[Example]) -> list[Features]:
    """Gives TF-IDF features of several parts; the first of them sets vocabulary and weights.

    A text is told by its words and by their characters, one to five at a time; a word of a sentence by the
    same of itself and of its two neighbours. What no row of the first part has (neighbours, in a list of
    words) is left out.
    """
    parts = [train, *others]
    views = [[_views(part)[place] for part in parts] for place in range(len(_views(train)))]
    columns = [view for view in views if any(text.strip() for text in view[0])]
    return [sparse.hstack(blocks).tocsr() for blocks in zip(*map(_weighted, columns), strict=True)]


def _views(part: Sequence[Example]) -> list[list[str]]:
    """Gives what is told of each row, as text: the text or both; or the word and its two neighbours."""
    if any(isinstance(one, TextExample) for one in part):
        return [list(view) for view in zip(*map(texts_of, part), strict=True)]
    padded = [("", *one.words, "") for one in part if isinstance(one, TokenExample)]
    return [
        [word for words in padded for word in words[shift : shift + len(words) - 2]] for shift in (1, 0, 2)
    ]


def _weighted(texts: Sequence[Sequence[str]]) -> list[Features]:
    """Gives one view of all parts: whole words beside characters."""
    kinds: list[dict[str, Any]] = [
        {"analyzer": "word", "token_pattern": r"\S+"},
        {"analyzer": "char_wb", "ngram_range": (1, 5)},
    ]
    made = [TfidfVectorizer(lowercase=False, sublinear_tf=True, dtype=np.float32, **kind) for kind in kinds]
    for one in made:
        one.fit(texts[0])
    return [sparse.hstack([one.transform(part) for one in made]) for part in texts]


def static(
    vectors_VD: NDArray[np.float32], tokenizer: Any, train: Sequence[Example], *others: Sequence[Example]
) -> list[Features]:
    """Gives features by static embeddings: a text is the mean of its tokens'; a word has its neighbours.

    In a text's mean frequent tokens weigh less, by a / (a + p) with p their share of the training part (Arora
    et al. 2017).
    """
    parts = [train, *others]
    if any(isinstance(one, TokenExample) for one in train):
        return [_of_words(vectors_VD, tokenizer, part) for part in parts]
    ids = [[[_ids(tokenizer, text) for text in texts_of(one)] for one in part] for part in parts]
    counts_V = np.bincount(
        [token for row in ids[0] for text in row for token in text], minlength=len(vectors_VD)
    )
    weighted_VD = vectors_VD * (_SMOOTH / (_SMOOTH + counts_V / max(1, counts_V.sum())))[:, None]
    return [np.hstack([_means(weighted_VD, view) for view in zip(*rows, strict=True)]) for rows in ids]


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def _means(vectors_VD: NDArray[Any], rows: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Gives the mean of each row's vectors, of length one; nothing of an empty row."""
    found: NDArray[Any] = np.stack([vectors_VD[list(row)].sum(axis=0) for row in rows])
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return found


def _of_words(vectors_VD: NDArray[Any], tokenizer: Any, part: Sequence[Example]) -> NDArray[Any]:
    rows = []
    for example in part:
        if isinstance(example, TokenExample):
            words = _means(vectors_VD, pieces_of(example.words, tokenizer, _ROOM))
            padded = np.pad(words, ((1, 1), (0, 0)))
            rows.append(np.hstack([padded[1:-1], padded[:-2], padded[2:]]))
    return np.concatenate(rows)
