"""Fine-tunes a model on one task with several seeds, and scores the test part once for each.

Shapes: **R** resamples, **S** seeds, **N** test items, **K** counts of a metric.
"""

from __future__ import annotations

import gzip
import json
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.tasks import TaskData, labels_of
from harness.measure.interval import percentile_interval
from harness.measure.scores import score, tally
from harness.models import checkpoint
from harness.stages.files import precision, read_task, write_json
from harness.train.finetuning import Labels, Protocol, finetune

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_RESAMPLES = 1000


def run(context: Context) -> None:
    """Writes ``scores.json``, ``predictions.json.gz`` (per seed and item) and the first seed's ``model``.

    The interval of a score is a bootstrap over items and seeds together.
    """
    config = context.config
    data = read_task(context, config["task"])
    source = context.inputs["model"] / "model"
    tokenizer = checkpoint.load(source).tokenizer
    protocol = Protocol(**{**config["protocol"], "precision": precision(config["protocol"]["precision"])})
    first = data.task.metrics[0]
    gold_dev, gold_test = _gold(data, "dev"), _gold(data, "test")
    predictions, epochs = {}, {}
    for done, seed in enumerate(config["seeds"]):
        context.progress(done, len(config["seeds"]), "seeds", {})
        tuned = finetune(
            source,
            tokenizer,
            data,
            protocol=protocol,
            seed=seed,
            score=lambda labels: score(first, gold_dev, labels),
            folder=context.out / "scratch",
        )
        predictions[seed] = tuned.predictions
        epochs[seed] = {"best_epoch": tuned.best_epoch, "dev": tuned.dev_scores}
        if done == 0 and config["keep_model"]:
            checkpoint.save(tuned.model, tokenizer, context.out / "model")
    scores = {
        "task": data.task.name,
        "n_test": len(data.test),
        "metrics": {metric: _metric(metric, gold_test, predictions) for metric in data.task.metrics},
        "seeds": {str(seed): one for seed, one in epochs.items()},
    }
    write_json(context.out / "scores.json", scores)
    _write_predictions(context, predictions)
    context.facts["scores"] = scores


def _gold(data: TaskData, part: str) -> list[Any]:
    examples = getattr(data, part)
    if data.task.kind == "sequence":
        return [labels_of(example)[0] for example in examples]
    return [list(labels_of(example)) for example in examples]


def _metric(metric: str, gold: list[Any], predictions: dict[int, Labels]) -> dict[str, Any]:
    tallies = [tally(metric, gold, labels) for labels in predictions.values()]
    values = [one.value for one in tallies]
    drawn, num_seeds, num_items = np.random.default_rng(0), len(tallies), len(gold)
    seeds_RS = drawn.integers(num_seeds, size=(_RESAMPLES, num_seeds))
    items_RN = drawn.multinomial(num_items, [1 / num_items] * num_items, _RESAMPLES)
    scores_RS = np.stack([one.finish(items_RN @ one.counts_NK) for one in tallies], axis=1)
    replicates_R = np.take_along_axis(scores_RS, seeds_RS, axis=1).mean(axis=1)
    interval = percentile_interval(statistics.fmean(values), replicates_R)
    return {
        "values": values,
        "mean": interval.value,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "low": interval.low,
        "high": interval.high,
    }


def _write_predictions(context: Context, predictions: dict[int, Labels]) -> None:
    text = json.dumps({str(seed): labels for seed, labels in predictions.items()}, ensure_ascii=False)
    # no file name and no time in the header: equal predictions give equal bytes
    packed = gzip.compress(text.encode("utf-8"), mtime=0)
    (context.out / "predictions.json.gz").write_bytes(packed)
