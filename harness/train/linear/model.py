"""Linear models on given features: how strongly they are held back is chosen on dev."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths that are tried."""


@dataclass(frozen=True)
class Fitted:
    """What the best of the linear models says of the test rows.

    Attributes:
        labels: one a row.
        strength: the one that was best on dev (the first, among equals).
        dev_scores: by strength.
    """

    labels: list[str]
    strength: float
    dev_scores: dict[float, float]


def fit(
    train: Any, labels: Sequence[str], dev: Any, test: Any, *, score: Callable[[list[str]], float]
) -> Fitted:
    """Fits a linear model for each strength, and predicts the test rows with the one that is best on dev.

    Holds: equal arguments give equal predictions; the test rows are predicted once.

    Args:
        train: features of the training rows; sparse ones get a support vector machine, dense ones a logistic
            regression.
        labels: of the training rows.
        dev: features of the rows that are chosen by.
        test: features of the rows to predict.
        score: gives the score of predictions on dev.
    """
    if len(set(labels)) == 1:
        return Fitted([labels[0]] * test.shape[0], STRENGTHS[0], {})
    models = {strength: _fitted(train, labels, strength) for strength in STRENGTHS}
    scores = {strength: score(list(model.predict(dev))) for strength, model in models.items()}
    best = max(scores, key=lambda strength: (scores[strength], -strength))
    return Fitted([str(label) for label in models[best].predict(test)], best, scores)


def _fitted(train: Any, labels: Sequence[str], strength: float) -> Any:
    made = (
        LinearSVC(C=strength, random_state=0)
        if sparse.issparse(train)
        else LogisticRegression(C=strength, max_iter=300)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is good enough to choose by
        return made.fit(train, list(labels))
