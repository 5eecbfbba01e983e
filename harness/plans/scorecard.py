"""Strings the stages together that score models which no run here made; gathers what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.baselines import baselines_of_first
from harness.config.scale import Scale
from harness.errors import UsageError
from harness.models.loading.encoder import load_task_tokenizer, read_max_input_tokens
from harness.models.loading.folder import open_model_folder
from harness.models.loading.hub import locate_model
from harness.pipeline.execute import Finished
from harness.pipeline.plan import Plan, Stage
from harness.plans.evaluation import (
    EvaluatedModel,
    make_stage,
    plan_comparison,
    plan_score,
)
from harness.plans.run import available_tasks, plan_tasks
from harness.tasks import task_named

_BASELINES = baselines_of_first()


@dataclass(frozen=True)
class ModelSource:
    """A model to be scored.

    Attributes:
        id: its name in stages and tables.
        folder: where it lies.
        source: the folder as asked for, or the hub id with its commit.
    """

    id: str
    folder: Path
    source: str


@dataclass(frozen=True)
class EvaluationPlan:
    """What is scored, before it is.

    Attributes:
        plan: its stages.
        models: those to be scored.
        scored: the models, then the baselines.
        tasks: those the data has, with their main metric.
        missing_tasks: those asked for that the data has not, with the reason.
    """

    plan: Plan
    models: tuple[ModelSource, ...]
    scored: tuple[EvaluatedModel, ...]
    tasks: Mapping[str, str]
    missing_tasks: Mapping[str, str]


def find_model_sources(sources: Sequence[str]) -> list[ModelSource]:
    """Gives the models that folders or hub ids name; ``organisation/name@revision`` pins a hub id.

    A hub id without revision is its main branch; what commit that is stands in ``source``.

    Raises:
        HarnessError: no such folder and no such hub id.
    """
    found: list[ModelSource] = []
    for source in sources:
        told, folder = _locate(source)
        name = folder.resolve().parent.name if folder.resolve().name == "model" else told.partition("@")[0]
        taken = [*_BASELINES, *(one.id for one in found)]
        ids = [_plain(name), *(f"{_plain(name)}-{number}" for number in range(2, len(taken) + 3))]
        found.append(ModelSource(next(one for one in ids if one not in taken), folder, told))
    return found


def _locate(source: str) -> tuple[str, Path]:
    """Gives the folder of a source, and what it is called: the folder, or the hub id with its commit."""
    if Path(source).is_dir():
        return str(Path(source).resolve()), Path(source)
    hub_id, _, revision = source.partition("@")
    folder = locate_model(hub_id, revision or "main")
    return f"{hub_id}@{folder.resolve().name}", folder


def _plain(name: str) -> str:
    """Gives the last part of a path or hub id, as a stage can be called."""
    name = name.rpartition("/")[2]
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in kept.split("-") if part) or "model"


def plan_evaluation(models: Sequence[ModelSource], language: str, scale: Scale) -> EvaluationPlan:
    """Gives the plan that scores models on the tasks of a language.

    Every model and baseline is compared with the first model; tasks, seeds, protocol and baselines are the
    scale's. Of the baselines a trimmed teacher has no place here: it takes a run with a corpus.

    Args:
        models: the first of which the others are compared with.
        language: code; the data has to know it.
        scale: for tasks, seeds, protocol, baselines, precision and length.

    Raises:
        UsageError: the data has none of the tasks in this language.
        HarnessError: a folder holds no model that can be scored.
    """
    tasks, missing = available_tasks(language, scale)
    if not tasks:
        told = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise UsageError(f"score: expected one task at least in '{language}'; got none; {told}")
    opened = [open_model_folder(one.folder) for one in models]
    for folder in opened:
        load_task_tokenizer(folder)
    ends = [end for folder in opened if (end := read_max_input_tokens(folder)) is not None]
    scale = scale.model_copy(update={"sequence_length": min([scale.sequence_length, *ends])})
    first = models[0]
    scored = [
        EvaluatedModel(one.id, one.id, "teacher" if one == first else "student", one.id) for one in models
    ]
    baselines = [name for name in scale.score.baselines if name in _BASELINES]
    for name in baselines:
        row = _BASELINES[name]
        scored.append(EvaluatedModel(name, str(row.title_of_first), "baseline", name, row.kind))
    stages = [plan_tasks(language, scale, tasks), *_baseline_stages(baselines, first.folder, scale.seed)]
    folders: dict[str, str | Path] = {one.id: one.folder for one in models}
    stages += [plan_score(one, task, scale, folders.get(one.id, one.id)) for task in tasks for one in scored]
    pairs = [(one.id, first.id) for one in scored if one.id != first.id]
    stages.append(plan_comparison([one.id for one in scored], tasks, pairs))
    named = {task: task_named(task).metrics[0] for task in tasks}
    return EvaluationPlan(Plan(stages), tuple(models), tuple(scored), named, missing)


def _baseline_stages(baselines: Sequence[str], folder: Path, seed: int) -> list[Stage]:
    made = {"random": {"seed": seed, "head": False}, "static": {}}
    return [
        make_stage(name, name, config, {"model": folder})
        for name, config in made.items()
        if name in baselines
    ]


def gather(card: EvaluationPlan, finished: Mapping[str, Finished]) -> dict[str, Any]:
    """Gives all scores and comparisons of a finished scorecard, as written to ``scores.json``."""
    facts = {name: one.manifest.facts for name, one in finished.items()}
    return {
        "tasks": dict(card.tasks),
        "names": {one.id: one.name for one in card.scored},
        "sources": {one.id: one.source for one in card.models},
        "data": facts["tasks"],
        "scores": {
            one.id: {task: facts[f"score.{task}.{one.id}"]["scores"] for task in card.tasks}
            for one in card.scored
        },
        "comparisons": facts["compare"]["comparisons"],
    }
