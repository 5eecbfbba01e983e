"""Compares the scored models on the same items: what is better, what is worse, what cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError
from harness.json_files import write_json
from harness.measure.interval import Interval, percentile_interval
from harness.measure.predictions import FILE, read_predictions
from harness.measure.scores import tally_all
from harness.measure.significance import Sampled, compare, holm, rounds_of, sample, share, verdict

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

AVERAGE = "average"
"""What rows over all tasks are called; each task's test part is resampled by itself."""


def run(context: Context) -> None:
    """Writes ``comparisons.json``: a row for each pair and task, and one for each pair over all tasks.

    The p-values of all rows together are corrected by Holm; the rows over all tasks have none.
    """
    models = {task: _sampled(context, task, place) for place, task in enumerate(context.config["tasks"])}
    pairs = [tuple(pair) for pair in context.config["pairs"]]
    rounds = rounds_of(len(pairs) * len(models))
    rows = []
    for done, (one, other) in enumerate(pairs):
        context.progress(done, len(pairs), "pairs", {})
        rows += [_row(task, by_id, one, other, rounds=rounds) for task, by_id in models.items()]
    for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = p_holm
        row["verdict"] = verdict(Interval(**row["difference"]), p_holm)
    if len(models) > 1:
        rows += [_average_row(models, one, other) for one, other in pairs]
    write_json(context.out / "comparisons.json", rows)
    context.facts["comparisons"] = rows


def _sampled(context: Context, task: str, place: int) -> dict[str, Sampled]:
    """Reads the predictions of every model on a task, and resamples its main metric.

    Raises:
        HarnessError: two models were scored on different items.
    """
    ids = context.config["models"]
    told = [read_predictions(context.inputs[f"score.{task}.{model}"] / FILE) for model in ids]
    gold = told[0].gold
    for model, one in zip(ids, told, strict=True):
        if one.gold != gold:
            raise HarnessError(
                f"compare: wanted all models on one test part of {task}; got another for "
                f"{model}; score it anew"
            )
    tallies = tally_all(told[0].metrics[0], gold, [labels for one in told for labels in one.seeds])
    models = [[tallies.pop(0) for _ in one.seeds] for one in told]
    return dict(zip(ids, sample(models, seed=place), strict=True))


def _row(task: str, models: Mapping[str, Sampled], one: str, other: str, *, rounds: int) -> dict[str, Any]:
    found = compare(models[one], models[other], rounds=rounds)
    return {
        "model": one,
        "other": other,
        "task": task,
        "difference": asdict(found.difference),
        "retention": found.retention and asdict(found.retention),
        "p_value": found.p_value,
        "p_wilcoxon": found.p_wilcoxon,
    }


def _average_row(tasks: Mapping[str, Mapping[str, Sampled]], one: str, other: str) -> dict[str, Any]:
    (value, one_R), (beside, other_R) = (
        (
            fmean(by_id[model].mean for by_id in tasks.values()),
            np.mean([by_id[model].replicates_R for by_id in tasks.values()], axis=0),
        )
        for model in (one, other)
    )
    difference = percentile_interval(value - beside, one_R - other_R)
    retention = share(value, beside, one_R, other_R)
    return {
        "model": one,
        "other": other,
        "task": AVERAGE,
        "difference": asdict(difference),
        "retention": retention and asdict(retention),
        "p_value": None,
        "p_wilcoxon": None,
        "p_holm": None,
        "verdict": verdict(difference, None),
    }
