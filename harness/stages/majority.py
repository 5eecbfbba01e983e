"""Scores the most frequent label of the training part: what is reached without looking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.data.tasks import labels_of
from harness.measure.scores import Item, predict_most_frequent, tally
from harness.stages.files import read_task, write_json

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``scores.json``: for each task, each metric with its interval over items."""
    scores = {}
    for name in context.config["names"]:
        data = read_task(context, name)
        one_each = data.task.kind == "sequence"
        train, test = (
            [labels_of(example)[0] if one_each else labels_of(example) for example in part]
            for part in (data.train, data.test)
        )
        predicted = predict_most_frequent(train, test)
        scores[name] = {
            "n_test": len(test),
            "metrics": {metric: _metric(metric, test, predicted) for metric in data.task.metrics},
        }
    write_json(context.out / "scores.json", scores)
    context.facts["scores"] = scores


def _metric(metric: str, test: Sequence[Item], predicted: Sequence[Item]) -> dict[str, float]:
    interval = tally(metric, test, predicted).interval()
    return {"value": interval.value, "low": interval.low, "high": interval.high}
