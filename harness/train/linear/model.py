"""Linear models on given features; their regularisation is chosen on dev."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths to choose from."""


@dataclass(frozen=True)
class LinearFit:
    """The predictions of the best linear model on the test rows.

    Attributes:
        labels: a label for each row.
        strength: the best strength on dev (the smallest of equals).
        dev_scores: score on dev by strength.
    """

    labels: list[str]
    strength: float
    dev_scores: dict[float, float]


def fit_linear_model(
    train: Any, labels: Sequence[str], dev: Any, test: Any, *, score: Callable[[list[str]], float]
) -> LinearFit:
    """Fit a linear model for each strength, and predict the test rows with the best model on dev.

    Invariants: equal arguments give equal predictions; the test rows are predicted once.

    Args:
        train: features of the training rows; sparse features get a support vector machine, dense features a
            logistic regression.
        labels: labels of the training rows.
        dev: features of the dev rows.
        test: features of the rows to predict.
        score: computes the score of predictions on dev.
    """
    if len(set(labels)) == 1:
        return LinearFit([labels[0]] * test.shape[0], STRENGTHS[0], {})
    models = {strength: _fit_strength(train, labels, strength) for strength in STRENGTHS}
    scores = {strength: score(list(model.predict(dev))) for strength, model in models.items()}
    best = max(scores, key=lambda strength: (scores[strength], -strength))
    return LinearFit([str(label) for label in models[best].predict(test)], best, scores)


def _fit_strength(train: Any, labels: Sequence[str], strength: float) -> Any:
    model = (
        LinearSVC(C=strength, random_state=0)
        if sparse.issparse(train)
        else LogisticRegression(C=strength, max_iter=300)
    )
    # One thread: where another process has a core, the threads of BLAS wait for each other most of the time.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is good enough to choose by
        return model.fit(train, list(labels))
