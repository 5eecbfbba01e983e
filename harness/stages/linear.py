"""Score a linear model on one task: on TF-IDF, which needs no model, or on static embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from harness.data.examples import TaskData, gold_labels
from harness.measure.scores import Item, score
from harness.models.loading.tokenizer_json import read_tokenizer
from harness.stages.io.artifacts import STATIC_FILE, read_task
from harness.stages.io.facts import LinearFacts, LinearScoresFacts
from harness.stages.io.scores import name_model, write_scores
from harness.train.linear import features
from harness.train.linear.model import fit_linear_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> LinearFacts:
    """Write the scores and predictions; fitting draws no random number, so that one seed is enough."""
    data = read_task(context, context.config["task"])
    named = context.config["features"]
    train, dev, test = _compute_features(context, data)
    gold_dev = gold_labels(data, "dev")
    fitted = fit_linear_model(
        train,
        [label for one in data.train for label in one.labels],
        dev,
        test,
        score=lambda labels: score(data.task.metrics[0], gold_dev, _split_into_items(labels, gold_dev)),
    )
    scores = write_scores(
        context,
        data,
        {0: _split_into_items(fitted.labels, gold_labels(data, "test"))},
        protocol=f"{named},linear,strength={fitted.strength:g}",
        model=name_model(context.inputs["static"] / STATIC_FILE) if named == "static" else "none",
        packages=("scikit-learn",),
        facts=LinearScoresFacts,
        dev={f"{strength:g}": value for strength, value in fitted.dev_scores.items()},
    )
    return LinearFacts(scores=scores)


def _compute_features(context: Context, data: TaskData) -> list[Any]:
    if context.config["features"] == "tfidf":
        return features.compute_tfidf(data.train, data.dev, data.test)
    folder = context.inputs["static"]
    vectors_VD = load_file(folder / STATIC_FILE)["vectors_VD"].astype(np.float32)
    tokenizer = read_tokenizer(folder)
    return features.compute_static_features(vectors_VD, tokenizer, data.train, data.dev, data.test)


def _split_into_items(labels: list[str], like: list[Item]) -> list[Item]:
    """Split the labels of all rows into items of the same lengths as others."""
    left = iter(labels)
    return [next(left) if isinstance(item, str) else [next(left) for _ in item] for item in like]
