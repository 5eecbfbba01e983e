"""The head of a model's card: metadata that the hub reads, with the scores as its model index."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.escaping import drop_control_characters
from harness.report.hub_licences import name_licence
from harness.tasks import TASKS

_HUB_ID = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")


@dataclass(frozen=True)
class CardScore:
    """A score on the test part of a task.

    Attributes:
        task: its name.
        metric: as ``macro_f1``.
        value: as a fraction.
        language: code.
        source: hub id of the data; None where the data is from elsewhere.
        revision: of the data on the hub.
    """

    task: str
    metric: str
    value: float
    language: str | None
    source: str | None = None
    revision: str | None = None


def render_head(
    *,
    name: str,
    language: str | None,
    licence: str | None,
    library: str,
    pipeline: str,
    tags: Sequence[str],
    base_model: str | None = None,
    scores: Sequence[CardScore] = (),
) -> str:
    """Return the YAML between the dashes of a card, checked by the hub's own library.

    Invariants: nothing is stated that the arguments lack; text has no control characters.
    """
    from huggingface_hub import ModelCardData  # noqa: PLC0415  the core does without

    identifier, licence_name = name_licence(licence)
    base_model = _clean(base_model)
    data = ModelCardData(
        language=_clean(language),
        license=identifier,
        license_name=licence_name,
        library_name=library,
        pipeline_tag=pipeline,
        base_model=base_model if _HUB_ID.fullmatch(base_model or "") else None,
        datasets=sorted({one.source for one in scores if one.source}) or None,
        metrics=sorted({_name_metric(one.metric) for one in scores}) or None,
        tags=list(tags),
        model_name=_clean(name),
        eval_results=[_make_result(one) for one in scores] or None,
    )
    return data.to_yaml()


def list_scores(
    scores: Mapping[str, Mapping[str, float]], language: str | None, data: Mapping[str, Mapping[str, Any]]
) -> list[CardScore]:
    """Return scores by task and metric as those of a card.

    Args:
        scores: by task and metric.
        language: code.
        data: source and revision of each task, as `harness.deploy.lineage.find_lineage` returns them.
    """
    listed = []
    for task, values in scores.items():
        origin = data.get(task, {})
        source = origin.get("source")
        hub = str(source) if source and "/" in str(source) else None
        revision = origin.get("revision") if hub else None
        listed += [
            CardScore(task, metric, value, language, hub, revision) for metric, value in values.items()
        ]
    return listed


def _make_result(score: CardScore) -> Any:
    from huggingface_hub import EvalResult  # noqa: PLC0415  the core does without

    row = TASKS.get(score.task)
    return EvalResult(
        task_type=row.head.pipeline if row else score.task,
        task_name=row.name if row else score.task,
        dataset_type=score.source or score.task,
        dataset_name=f"{score.task}, {score.language}" if score.language else score.task,
        dataset_config=score.language,
        dataset_split="test",
        dataset_revision=score.revision,
        metric_type=_name_metric(score.metric),
        metric_name=score.metric,
        metric_value=round(100 * score.value, 2),
    )


def _name_metric(metric: str) -> str:
    """Return the name of a metric on the hub: every F1 is ``f1`` there."""
    return "f1" if metric.endswith("f1") else metric


def _clean(text: str | None) -> str | None:
    return None if text is None else " ".join(str(drop_control_characters(text)).split())
