"""What every stage that scores writes: scores with interval and signature, and the predictions behind."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness.config.digest import digest
from harness.data.examples import TaskData, gold_labels, labels_of, texts_of
from harness.json_files import write_json
from harness.measure.environment import version_of
from harness.measure.predictions import FILE, Predictions, write_predictions
from harness.measure.scores import Item, tally
from harness.measure.signature import Signature
from harness.measure.significance import interval
from harness.models.loading.fingerprint import fingerprint
from harness.pipeline.hashing import hash_path

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_DIGITS = 12


def data_name(data: TaskData) -> str:
    """Names the data: what kind of source, its revision, and the digest of all its parts.

    Holds: data that lies in a folder has one name, wherever that lies and however its path is written.
    """
    told = data.provenance
    source = told.get("hub") or ("folder" if "source" in told else "builtin")
    revision = f"@{told['revision'][:7]}" if "revision" in told else ""
    parts = [
        [[*texts_of(one), *labels_of(one)] for one in part] for part in (data.train, data.dev, data.test)
    ]
    return f"{source}{revision}#{digest([data.labels, parts])[:_DIGITS]}"


def model_name(path: Path) -> str:
    """Names a model: by what it is, however often it was saved, or by its one file."""
    return (fingerprint(path) if path.is_dir() else hash_path(path))[:_DIGITS]


def record_scores(
    context: Context,
    data: TaskData,
    by_seed: Mapping[int, Sequence[Item]],
    *,
    protocol: str,
    model: str,
    packages: Sequence[str],
    more: Mapping[str, Any],
) -> None:
    """Writes ``scores.json`` and ``predictions.json.gz``, and leaves the scores in the facts.

    The interval of a score is a bootstrap over items and seeds together.

    Args:
        context: of the stage.
        data: the task; its test part is what was predicted.
        by_seed: the predictions of each seed.
        protocol: how the model learnt the task, for the signature.
        model: its digest, for the signature.
        packages: whose versions the signature names.
        more: what the stage tells besides.
    """
    gold = gold_labels(data, "test")
    signature = Signature(
        task=data.task.name,
        language=data.language,
        data=data_name(data),
        split="test",
        n_items=len(gold),
        protocol=protocol,
        seeds=list(by_seed),
        model=model,
        versions={"harness": harness.__version__} | {name: version_of(name) or "none" for name in packages},
    )
    told = Predictions(data.task.name, data.task.metrics, gold, by_seed, str(signature))
    scores = {
        "task": data.task.name,
        "n_test": len(gold),
        "by_seed": list(by_seed),
        "signature": str(signature),
        "metrics": {metric: _metric(metric, told) for metric in data.task.metrics},
        **more,
    }
    write_json(context.out / "scores.json", scores)
    write_predictions(told, context.out / FILE)
    context.facts["scores"] = scores


def _metric(metric: str, told: Predictions) -> dict[str, Any]:
    tallies = [tally(metric, told.gold, labels) for labels in told.seeds]
    values = [one.value for one in tallies]
    bounds = interval(tallies)
    return {
        "values": values,
        "mean": bounds.value,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "low": bounds.low,
        "high": bounds.high,
    }
