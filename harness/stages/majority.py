"""Scores the most frequent label of the training part: what is reached without looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measure.scores import predict_most_frequent
from harness.stages.files import read_task
from harness.stages.scoring import gold_of, record_scores

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes what every stage that scores writes; nothing is drawn, so that one seed is enough."""
    data = read_task(context, context.config["task"])
    predicted = predict_most_frequent(gold_of(data, "train"), gold_of(data, "test"))
    record_scores(context, data, {0: predicted}, protocol="majority", model="none", packages=(), more={})
