"""Score the most frequent label of the training part: the score without looking at the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.examples import gold_labels
from harness.measure.scores import predict_most_frequent
from harness.stages.io.artifacts import read_task
from harness.stages.io.facts import ScoresFacts, ScoringFacts
from harness.stages.io.scores import write_scores

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> ScoringFacts:
    """Write the scores and predictions; there is nothing random, so that one seed is enough."""
    data = read_task(context, context.config["task"])
    predicted = predict_most_frequent(gold_labels(data, "train"), gold_labels(data, "test"))
    scores = write_scores(
        context, data, {0: predicted}, protocol="majority", model="none", packages=(), facts=ScoresFacts
    )
    return ScoringFacts(scores=scores)
