"""Write what every stage that scores a model leaves: scores with interval and signature, and predictions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import harness
from harness.config.digest import digest
from harness.data.examples import TaskData, gold_labels
from harness.json_files import write_json
from harness.measure.environment import find_version
from harness.measure.predictions import FILE, Predictions, write_predictions
from harness.measure.scores import Item, tally
from harness.measure.signature import Signature
from harness.measure.significance import interval
from harness.models.loading.fingerprint import fingerprint
from harness.pipeline.hashing import hash_path
from harness.stages.io.facts import MetricFacts, ScoresFacts, to_json

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_DIGITS = 12
S = TypeVar("S", bound=ScoresFacts)


def name_data(data: TaskData) -> str:
    """Name the data by the kind of its source, its revision, and the digest of all its parts.

    Invariants: data from a folder has one name, wherever the folder is and however its path is written.
    """
    source = data.provenance.get("hub") or ("folder" if "source" in data.provenance else "builtin")
    revision = f"@{data.provenance['revision'][:7]}" if "revision" in data.provenance else ""
    parts = [[[*one.texts, *one.labels] for one in part] for part in (data.train, data.dev, data.test)]
    return f"{source}{revision}#{digest([data.labels, parts])[:_DIGITS]}"


def name_model(path: Path) -> str:
    """Name a model by a digest: of its weights in any saved form, or of its one file."""
    return (fingerprint(path) if path.is_dir() else hash_path(path))[:_DIGITS]


def write_scores(
    context: Context,
    data: TaskData,
    by_seed: Mapping[int, Sequence[Item]],
    *,
    protocol: str,
    model: str,
    packages: Sequence[str],
    facts: type[S],
    **more: Any,
) -> S:
    """Write ``scores.json`` and ``predictions.json.gz``; return the scores.

    The interval of a score is a bootstrap over items and seeds together.

    Args:
        context: of the stage.
        data: the task whose test part was predicted.
        by_seed: the predictions of each seed.
        protocol: how the model was trained on the task, for the signature.
        model: its digest, for the signature.
        packages: those whose versions the signature names.
        facts: the type to return.
        more: further fields of that type.
    """
    gold = gold_labels(data, "test")
    signature = Signature(
        task=data.task.name,
        language=data.language,
        data=name_data(data),
        split="test",
        n_items=len(gold),
        protocol=protocol,
        seeds=list(by_seed),
        model=model,
        versions={"harness": harness.__version__} | {name: find_version(name) or "none" for name in packages},
    )
    predictions = Predictions(data.task.name, data.task.metrics, gold, by_seed, str(signature))
    scores = facts(
        task=data.task.name,
        n_test=len(gold),
        by_seed=list(by_seed),
        signature=str(signature),
        metrics={metric: _score(metric, predictions) for metric in data.task.metrics},
        **more,
    )
    write_json(context.out / "scores.json", to_json(scores))
    write_predictions(predictions, context.out / FILE)
    return scores


def _score(metric: str, predictions: Predictions) -> MetricFacts:
    tallies = [tally(metric, predictions.gold, labels) for labels in predictions.seeds]
    values = [one.value for one in tallies]
    bounds = interval(tallies)
    return MetricFacts(
        values=values,
        mean=bounds.value,
        std=statistics.stdev(values) if len(values) > 1 else None,
        low=bounds.low,
        high=bounds.high,
    )
