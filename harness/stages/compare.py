"""Compare the scored models on the same items: better, worse, or no significant difference."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import HarnessError
from harness.json_files import write_json
from harness.measure.interval import Interval, percentile_interval
from harness.measure.predictions import FILE, read_predictions
from harness.measure.scores import tally_all
from harness.measure.significance import (
    Replicates,
    Sampled,
    choose_rounds,
    compare,
    holm,
    sample,
    share,
    verdict,
)
from harness.report.summary import AVERAGE
from harness.stages.io.facts import CompareFacts, ComparisonFacts, to_json

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


class _Tested(NamedTuple):
    """Two models on one task, before the p-values of the whole table are corrected."""

    model: str
    other: str
    task: str
    difference: Interval
    retention: Interval | None
    p_value: float
    p_wilcoxon: float


def run(context: Context) -> CompareFacts:
    """Write ``comparisons.json``: a row for each pair and task, and one for each pair over all tasks.

    The p-values of all rows together are corrected by Holm; the rows over all tasks have none. For the
    average, each task's test part is resampled by itself.
    """
    models = {task: _sample(context, task, place) for place, task in enumerate(context.config["tasks"])}
    pairs = [(model, other) for model, other in context.config["pairs"]]
    rounds = choose_rounds(len(pairs) * len(models))
    tested = []
    for done, (model, other) in enumerate(pairs):
        context.progress(done, len(pairs), "pairs", {})
        tested += [_test(task, by_id, model, other, rounds=rounds) for task, by_id in models.items()]
    rows = [
        ComparisonFacts(**row._asdict(), p_holm=p_holm, verdict=verdict(row.difference, p_holm))
        for row, p_holm in zip(tested, holm([row.p_value for row in tested]), strict=True)
    ]
    if len(models) > 1:
        rows += [_compare_averages(models, model, other) for model, other in pairs]
    facts = CompareFacts(comparisons=rows)
    write_json(context.out / "comparisons.json", to_json(facts)["comparisons"])
    return facts


def _sample(context: Context, task: str, place: int) -> dict[str, Sampled]:
    """Read the predictions of every model on a task, and resample its main metric.

    Raises:
        HarnessError: two models were scored on different items.
    """
    ids = context.config["models"]
    predictions = [read_predictions(context.inputs[f"score.{task}.{model}"] / FILE) for model in ids]
    gold = predictions[0].gold
    for model, predicted in zip(ids, predictions, strict=True):
        if predicted.gold != gold:
            raise HarnessError(
                f"compare: expected all models on one test part of {task}; got another for "
                f"{model}; score it again"
            )
    labels = [labels for predicted in predictions for labels in predicted.seeds]
    tallies = iter(tally_all(predictions[0].metrics[0], gold, labels))
    by_model = [[next(tallies) for _ in predicted.seeds] for predicted in predictions]
    return dict(zip(ids, sample(by_model, seed=place), strict=True))


def _test(task: str, models: Mapping[str, Sampled], model: str, other: str, *, rounds: int) -> _Tested:
    test = compare(models[model], models[other], rounds=rounds)
    return _Tested(model, other, task, test.difference, test.retention, test.p_value, test.p_wilcoxon)


def _compare_averages(tasks: Mapping[str, Mapping[str, Sampled]], model: str, other: str) -> ComparisonFacts:
    mean, mean_R = _average(tasks, model)
    other_mean, other_R = _average(tasks, other)
    difference = percentile_interval(mean - other_mean, mean_R - other_R)
    return ComparisonFacts(
        model=model,
        other=other,
        task=AVERAGE,
        difference=difference,
        retention=share(mean, other_mean, mean_R, other_R),
        p_value=None,
        p_wilcoxon=None,
        p_holm=None,
        verdict=verdict(difference, None),
    )


def _average(tasks: Mapping[str, Mapping[str, Sampled]], model: str) -> tuple[float, Replicates]:
    """Return the mean over tasks of a model's scores, and of its resampled scores."""
    sampled = [by_id[model] for by_id in tasks.values()]
    return fmean(one.mean for one in sampled), np.mean([one.replicates_R for one in sampled], axis=0)
