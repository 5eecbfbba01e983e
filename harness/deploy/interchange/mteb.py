"""Scores on the data of MTEB's tasks, as MTEB writes results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.languages import LANGUAGES
from harness.report.results import ModelResult, Results

_TASKS: Mapping[tuple[str, str], str] = {
    ("topic", "Davlan/sib200"): "SIB200Classification",
    ("news", "masakhane/masakhanews"): "MasakhaNEWSClassification",
}
"""Task here and data set on the hub → MTEB's task on the same test part."""
_METRICS = {"macro_f1": "f1"}
"""Metric here → its name in MTEB, where the names differ."""


def describe_for_mteb(
    results: Results, model: ModelResult, task: str, provenance: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return a model's scores on a task as MTEB writes them; None where the task is not one of MTEB's.

    The model was fine-tuned here, and not probed with frozen embeddings as MTEB does: ``evaluation_mode``
    says so. The revision is that of the data as it was read.
    """
    name = _TASKS.get((task, provenance.get("hub", "")))
    scores = {one.metric: one for one in results.scores if (one.model, one.task) == (model.id, task)}
    if name is None or "accuracy" not in scores:
        return None
    config = LANGUAGES[results.run.language].tasks[task].config
    row: dict[str, Any] = {_METRICS.get(metric, metric): score.mean for metric, score in scores.items()}
    row |= {
        "main_score": row["accuracy"],
        "hf_subset": config,
        "languages": [config.replace("_", "-") if "_" in config else f"{config}-Latn"],
        "num_samples": scores["accuracy"].n_test,
    }
    return {
        "task_name": name,
        "dataset_revision": provenance["revision"],
        "mteb_version": None,
        "evaluation_time": None,
        "evaluation_mode": "fine-tuned, not probed",
        "scores": {"test": [row]},
    }
