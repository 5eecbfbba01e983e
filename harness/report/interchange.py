"""A run's scores and predictions in the forms that other programs read: Every Eval Ever, MTEB, CoNLL.

The functions compute plain data and text; `harness.cli.convert` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.results import ModelResult, Results, TaskScore

EEE_VERSION = "0.2.1"
"""Version of the schema ``eval.schema.json`` of Every Eval Ever that the records follow."""
LIBRARY = "harness-encoders"
MTEB_TASKS: Mapping[str, tuple[str, str]] = {"topic": ("Davlan/sib200", "SIB200Classification")}
"""Task here → the hub's data set, and what MTEB calls its task on that data set."""


def describe_evaluation(
    results: Results, model: ModelResult, *, version: str, retrieved: int, sources: Mapping[str, str]
) -> dict[str, Any]:
    """Return the record of a model's scores in the schema of Every Eval Ever.

    Args:
        results: of the run.
        model: whose scores.
        version: of this program.
        retrieved: when the record is written, in seconds since 1970.
        sources: hub id of each task's data; a task that is absent has data from elsewhere.
    """
    run = results.run
    name = f"{run.language}-{run.recipe}-{run.scale}-{model.id}"
    scores = [score for score in results.scores if score.model == model.id]
    return {
        "schema_version": EEE_VERSION,
        "evaluation_id": f"{run.language}-{run.scale}/{name}/{retrieved}",
        "retrieved_timestamp": str(retrieved),
        "source_metadata": {
            "source_name": f"{run.recipe} at the scale {run.scale}",
            "source_type": "evaluation_run",
            "source_organization_name": "not stated",
            "evaluator_relationship": "first_party",
        },
        "eval_library": {"name": LIBRARY, "version": version},
        "model_info": {
            "name": model.name,
            "id": name,
            "additional_details": {"role": model.role, "teacher": run.teacher, "data": run.data},
        },
        "evaluation_results": [_describe_score(score, sources.get(score.task)) for score in scores],
    }


def _describe_score(score: TaskScore, source: str | None) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": score.n_test}
    if score.std is not None:
        uncertainty["standard_deviation"] = score.std
    if score.interval is not None:
        uncertainty["confidence_interval"] = {
            "lower": score.interval.low,
            "upper": score.interval.high,
            "confidence_level": score.interval.level,
            "method": "bootstrap over items and seeds",
        }
    details = {"seeds": " ".join(map(str, score.seeds)), "values": " ".join(map(str, score.values))}
    if score.signature is not None:
        details["signature"] = score.signature
    data: dict[str, Any] = {"dataset_name": score.task, "source_type": "other"}
    if source is not None:
        data = {
            "dataset_name": score.task, "source_type": "hf_dataset", "hf_repo": source, "hf_split": "test",
            "samples_number": score.n_test,
        }  # fmt: skip
    return {
        "evaluation_name": f"{score.task}.{score.metric}",
        "source_data": data,
        "metric_config": {
            "evaluation_description": f"{score.metric} on the test part of {score.task}",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
        },
        "score_details": {"score": score.mean, "details": details, "uncertainty": uncertainty},
    }


def describe_for_mteb(
    results: Results, model: ModelResult, task: str, *, sources: Mapping[str, str], revision: str | None
) -> dict[str, Any] | None:
    """Return a model's scores on a task as MTEB writes them; None where the task is not one of theirs.

    The model was fine-tuned here, and not probed with frozen embeddings as MTEB does: ``evaluation_mode``
    says so.
    """
    hub, name = MTEB_TASKS.get(task, (None, ""))
    if hub is None or sources.get(task) != hub:
        return None
    scores = (score for score in results.scores if (score.model, score.task) == (model.id, task))
    by_metric = {score.metric: score for score in scores}
    if not by_metric:
        return None
    main = by_metric[results.declared.tasks[task]]
    names = {"macro_f1": "f1"}
    row: dict[str, Any] = {names.get(metric, metric): score.mean for metric, score in by_metric.items()}
    row |= {"main_score": main.mean, "hf_subset": results.run.language, "languages": [results.run.language]}
    return {
        "task_name": name,
        "dataset_revision": revision,
        "evaluation_mode": "fine-tuned, not probed",
        "scores": {"test": [row]},
    }


def format_conll(words: Sequence[Sequence[str]], gold: Sequence[Any], predicted: Sequence[Any]) -> str:
    """Return sentences as ``conlleval`` reads them: a word, its tag and the predicted tag on each line."""
    blocks = []
    for sentence, tags, guesses in zip(words, gold, predicted, strict=True):
        lines = zip(sentence, tags, guesses, strict=True)
        blocks.append("".join(f"{word} {tag} {guess}\n" for word, tag, guess in lines))
    return "\n".join(blocks)


def format_conllu(words: Sequence[Sequence[str]], tags: Sequence[Any]) -> str:
    """Return sentences as ``conll18_ud_eval`` reads them, with the tags in the column UPOS.

    Heads are not predicted here: each word hangs on the one before it, so that the file is valid.
    """
    blocks = []
    for sentence, row in zip(words, tags, strict=True):
        lines = [
            f"{number}\t{word}\t_\t{tag}\t_\t_\t{number - 1}\t{'root' if number == 1 else 'dep'}\t_\t_\n"
            for number, (word, tag) in enumerate(zip(sentence, row, strict=True), start=1)
        ]
        blocks.append("".join([*lines, "\n"]))
    return "".join(blocks)
