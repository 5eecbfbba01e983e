"""Scores and predictions as records of Every Eval Ever: one file of scores and one of items for each model.

The schemas are ``eval.schema.json`` and ``instance_level_eval.schema.json`` of the package every-eval-ever.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.json_files import format_json
from harness.measure.interval import RESAMPLES
from harness.measure.predictions import Predictions
from harness.report.results import ModelResult, Results, TaskScore
from harness.report.texts import HeldOut
from harness.tasks import TASKS

SCHEMA_VERSION = "0.3.0"
LIBRARY = "harness-encoders"
_METRICS: Mapping[str, tuple[str, str, str]] = {
    "accuracy": ("accuracy", "Accuracy", "accuracy"),
    "macro_f1": ("f1_macro", "F1-macro", "f1"),
    "span_f1": ("harness.span_f1", "F1 of spans", "f1"),
    "seqeval_f1": ("harness.seqeval_f1", "seqeval's F1 of UPOS tags", "f1"),
}
"""Metric here → id, name and kind there."""
_NOT_PORTABLE = re.compile(r'[<>:"/\\|?*\x00-\x1f ]')
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Evaluation:
    """A model's evaluation in one run, and the names that its records are filed under.

    Attributes:
        results: of the run.
        model: whose scores.
        developer: the organisation that made the model; part of its id.
        version: of this program.
        retrieved: when the records are written, in seconds since 1970.
        sources: hub id of each task's data; a task that is absent has data from elsewhere.
    """

    results: Results
    model: ModelResult
    developer: str
    version: str
    retrieved: int
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse a developer that cannot be a part of an id and a folder's name."""
        if _NAME.fullmatch(self.developer) is None:
            raise UsageError(
                f"convert: expected letters, digits and . _ - for --developer; got '{self.developer}'; "
                "name the organisation as on the hub"
            )

    @property
    def benchmark(self) -> str:
        """The collection that the records belong to."""
        return f"{LIBRARY}-{self.results.run.language}"

    @property
    def model_id(self) -> str:
        """Developer and name, as on the hub."""
        run = self.results.run
        name = f"{run.recipe}-{run.scale}-{run.language}-{self.model.id}"
        return f"{self.developer}/{_NOT_PORTABLE.sub('-', name)}"

    @property
    def id(self) -> str:
        """The id of the evaluation, which both files state."""
        return f"{self.benchmark}/{self.model_id}/{self.retrieved}"

    @property
    def stem(self) -> str:
        """The path of both files without their endings; equal scores have equal names."""
        scores = [one.model_dump_json() for one in self.results.scores if one.model == self.model.id]
        digest = hashlib.sha256("\n".join([self.model_id, *scores]).encode()).digest()
        return f"data/{self.benchmark}/{self.model_id}/{uuid.UUID(bytes=digest[:16], version=4)}"


def make_records(
    evaluation: Evaluation, items: Iterable[tuple[Sequence[str], Predictions]]
) -> dict[str, str]:
    """Return the files of a model's records: path below the datastore's root → text.

    Args:
        evaluation: of the model.
        items: of each task whose predictions are at hand, the texts of the test part, and the predictions.
    """
    rows = [row for texts, predictions in items for row in _describe_items(evaluation, texts, predictions)]
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    record = describe_evaluation(evaluation)
    files = {}
    if rows:
        path = f"{evaluation.stem}_samples.jsonl"
        record["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": path,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": len(rows),
        }
        files[path] = text
    return files | {f"{evaluation.stem}.json": format_json(record)}


def describe_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return the record of a model's scores."""
    results, model = evaluation.results, evaluation.model
    run = results.run
    scores = [_describe_score(evaluation, one) for one in results.scores if one.model == model.id]
    scores += [_describe_held_out(results, one) for one in results.held_out if one.model == model.id]
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation.id,
        "retrieved_timestamp": str(evaluation.retrieved),
        "source_metadata": {
            "source_name": f"{run.recipe} at the scale {run.scale}",
            "source_type": "evaluation_run",
            "source_organization_name": evaluation.developer,
            "evaluator_relationship": "first_party",
        },
        "eval_library": {"name": LIBRARY, "version": evaluation.version},
        "model_info": {
            "name": model.name,
            "id": evaluation.model_id,
            "developer": evaluation.developer,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "role": model.role,
                "teacher": run.teacher,
                "data": run.data,
            },
        },
        "evaluation_results": scores,
    }


def _describe_score(evaluation: Evaluation, score: TaskScore) -> dict[str, Any]:
    identifier, name, kind = _METRICS[score.metric]
    uncertainty: dict[str, Any] = {"num_samples": score.n_test}
    if score.interval is not None:
        uncertainty["num_bootstrap_samples"] = RESAMPLES
        uncertainty["confidence_interval"] = {
            "lower": score.interval.low,
            "upper": score.interval.high,
            "confidence_level": score.interval.level,
            "method": "bootstrap over items and seeds",
        }
    details = {"seeds": " ".join(map(str, score.seeds)), "values": " ".join(map(str, score.values))}
    if score.std is not None:
        details["standard_deviation_over_seeds"] = str(score.std)
    if score.signature is not None:
        details["signature"] = score.signature
    return {
        "evaluation_result_id": f"{score.task}.{score.metric}",
        "evaluation_name": f"{score.task}.{score.metric}",
        "source_data": _describe_source(score, evaluation.sources.get(score.task)),
        "metric_config": {
            "evaluation_description": f"{name} on the test part of {score.task}, after fine-tuning",
            "metric_id": identifier,
            "metric_name": name,
            "metric_kind": kind,
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
        },
        "score_details": {"score": score.mean, "details": details, "uncertainty": uncertainty},
    }


def _describe_source(score: TaskScore, source: str | None) -> dict[str, Any]:
    if source is None:
        return {"dataset_name": score.task, "source_type": "other"}
    return {
        "dataset_name": score.task,
        "source_type": "hf_dataset",
        "hf_repo": source,
        "hf_split": "test",
        "samples_number": score.n_test,
    }


def _describe_held_out(results: Results, held_out: HeldOut) -> dict[str, Any]:
    return {
        "evaluation_result_id": "held_out.loss_per_byte",
        "evaluation_name": "held_out.loss_per_byte",
        "source_data": {
            "dataset_name": f"held-out text in {results.run.language_name}",
            "source_type": "other",
        },
        "metric_config": {
            "evaluation_description": "masked-language loss on text that no step trained on",
            "metric_id": "harness.loss_per_byte",
            "metric_name": "Loss per byte",
            "metric_kind": "cross_entropy",
            "metric_unit": "nats per byte",
            "lower_is_better": True,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": "Infinity",
        },
        "score_details": {
            "score": held_out.loss_per_byte,
            "details": {"loss_per_masked_token": str(held_out.loss)},
        },
    }


def _describe_items(
    evaluation: Evaluation, texts: Sequence[str], predictions: Predictions
) -> Iterator[dict[str, Any]]:
    """Return a row for each item and seed; an item's score is the share of its labels that are right."""
    result = f"{predictions.task}.{predictions.metrics[0]}"
    source = {"model_id": evaluation.model_id, "evaluation_id": evaluation.id}
    for seed, labels in predictions.by_seed.items():
        for number, (text, gold, predicted) in enumerate(zip(texts, predictions.gold, labels, strict=True)):
            right, answer = _list_labels(gold), _list_labels(predicted)
            hits = sum(map(str.__eq__, right, answer))
            yield {
                "schema_version": SCHEMA_VERSION,
                **source,
                "evaluation_name": result,
                "evaluation_result_id": result,
                "sample_id": f"{predictions.task}/test/{number}",
                "sample_hash": hashlib.sha256((text + "".join(right)).encode()).hexdigest(),
                "interaction_type": "single_turn",
                "input": {"raw": text, "reference": right},
                "output": {"raw": answer},
                "answer_attribution": [
                    {
                        "turn_idx": 0,
                        "source": "output.raw",
                        "extracted_value": " ".join(answer),
                        "extraction_method": "argmax",
                        "is_terminal": True,
                    }
                ],
                "evaluation": {"score": hits / len(right), "is_correct": hits == len(right)},
                "metadata": {
                    "seed": str(seed),
                    "kind": TASKS[predictions.task].kind,
                    "score": "share of the item's labels that are right",
                },
            }


def _list_labels(item: str | Sequence[str]) -> list[str]:
    return [item] if isinstance(item, str) else list(item)
