"""Scores the most frequent label of the training part: what is reached without looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.examples import gold_labels
from harness.measure.scores import predict_most_frequent
from harness.stages.io.artifacts import read_task
from harness.stages.io.scores import record_scores

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes what every stage that scores writes; nothing is drawn, so that one seed is enough."""
    data = read_task(context, context.config["task"])
    predicted = predict_most_frequent(gold_labels(data, "train"), gold_labels(data, "test"))
    record_scores(context, data, {0: predicted}, protocol="majority", model="none", packages=(), more={})
