"""The plan that scores models which no run here made, and the scores of its stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.baselines import list_scorecard_baselines
from harness.config.scale import Scale
from harness.errors import UsageError
from harness.families import max_input_tokens
from harness.models.loading.encoder import load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.models.loading.hub import locate_pinned
from harness.models.loading.settings import load_config
from harness.models.loading.tokenizer_json import list_reading_notes
from harness.pipeline.execute import Finished
from harness.pipeline.plan import Plan, Stage
from harness.plans.data_stages import find_tasks, plan_tasks
from harness.plans.evaluation import EvaluatedModel, compare_with, plan_comparison, plan_score
from harness.plans.stage import make_stage
from harness.tasks import find_task

_BASELINES = list_scorecard_baselines()


@dataclass(frozen=True)
class ModelSource:
    """A model to be scored.

    Attributes:
        id: its name in stages and tables.
        folder: where its files are.
        source: the folder that was asked for, or the hub id with its commit.
    """

    id: str
    folder: Path
    source: str


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation before it has begun.

    Attributes:
        plan: its stages.
        models: those to be scored.
        scored: the models, then the baselines.
        tasks: those that the data has, with their main metric.
        missing_tasks: tasks of the scale that the data does not have, with the reason.
        tokenizer_notes: what in the models' tokenizer files a user may not expect, with the model's name.
    """

    plan: Plan
    models: tuple[ModelSource, ...]
    scored: tuple[EvaluatedModel, ...]
    tasks: Mapping[str, str]
    missing_tasks: Mapping[str, str]
    tokenizer_notes: tuple[str, ...] = ()


def find_model_sources(sources: Sequence[str]) -> list[ModelSource]:
    """Return the models that folders or hub ids name; ``organisation/name@revision`` pins a hub id.

    A hub id without revision is the commit of its main branch, which ``source`` then states.

    Raises:
        HarnessError: no such folder and no such hub id.
    """
    models: list[ModelSource] = []
    for asked in sources:
        source, folder = _locate(asked)
        path = folder.resolve()
        name = _make_id(path.parent.name if path.name == "model" else source.partition("@")[0])
        taken = {*_BASELINES, *(model.id for model in models)}
        ids = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
        models.append(ModelSource(next(free for free in ids if free not in taken), folder, source))
    return models


def _locate(source: str) -> tuple[str, Path]:
    """Return the resolved folder or the hub id with its commit, and the folder of the files."""
    if Path(source).is_dir():
        return str(Path(source).resolve()), Path(source)
    return locate_pinned(source)


def _make_id(name: str) -> str:
    """Return the last part of a path or hub id in letters that a stage's id may have."""
    name = name.rpartition("/")[2]
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in kept.split("-") if part) or "model"


def plan_evaluation(models: Sequence[ModelSource], language: str, scale: Scale) -> EvaluationPlan:
    """Return the plan that scores models on the tasks of a language.

    Every model and baseline is compared with the first model; tasks, seeds, protocol and baselines are the
    scale's, but for a trimmed teacher, which needs a run with a corpus.

    Args:
        models: the first is the reference.
        language: code; the data must have it.
        scale: for tasks, seeds, protocol, baselines, precision and length.

    Raises:
        UsageError: the data has none of the tasks in this language.
        HarnessError: a folder holds no model that can be scored.
    """
    tasks = find_tasks(language, scale)
    if not tasks.scored:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in tasks.missing.items())
        raise UsageError(f"score: expected one task at least in '{language}'; got none; {reasons}")
    scale, notes = _fit_length(models, scale)
    first = models[0]
    scored = [EvaluatedModel(first.id, first.id, "teacher", first.id)]
    scored += [EvaluatedModel(model.id, model.id, "student", model.id) for model in models[1:]]
    rows = {name: _BASELINES[name] for name in scale.score.baselines if name in _BASELINES}
    scored += [
        EvaluatedModel(name, str(row.title_of_first), "baseline", name, row.kind)
        for name, row in rows.items()
    ]
    folders: dict[str, str | Path] = {model.id: model.folder for model in models}
    stages = [
        plan_tasks(language, tasks.scored, scale),
        *_plan_baselines(rows, first.folder, scale.seed),
        *(
            plan_score(model, task, scale, folders.get(model.id, model.id))
            for task in tasks.scored
            for model in scored
        ),
        plan_comparison(scored, tasks.scored, compare_with(scored, first.id)),
    ]
    metrics = {task: find_task(task).metrics[0] for task in tasks.scored}
    return EvaluationPlan(Plan(stages), tuple(models), tuple(scored), metrics, tasks.missing, notes)


def _fit_length(models: Sequence[ModelSource], scale: Scale) -> tuple[Scale, tuple[str, ...]]:
    """Return the scale with inputs that every model can take, and notes; refuse an unfit model."""
    folders = [open_model_folder(model.folder) for model in models]
    notes = tuple(
        f"{model.source}: {note}"
        for model, folder in zip(models, folders, strict=True)
        for note in list_reading_notes(load_task_tokenizer(folder))
    )
    longest = (max_input_tokens(load_config(folder).to_dict()) for folder in folders)
    lengths = [length for length in longest if length is not None]
    return scale.model_copy(update={"sequence_length": min([scale.sequence_length, *lengths])}), notes


def _plan_baselines(names: Collection[str], folder: Path, seed: int) -> list[Stage]:
    configs = {"random": {"seed": seed, "head": False}, "static": {}}
    return [
        make_stage(name, name, config, {"model": folder}) for name, config in configs.items() if name in names
    ]


def collect_scores(evaluation: EvaluationPlan, finished: Mapping[str, Finished]) -> dict[str, Any]:
    """Return all scores and comparisons of a finished evaluation, as written to ``scores.json``."""
    facts = {name: stage.manifest.facts for name, stage in finished.items()}
    return {
        "tasks": dict(evaluation.tasks),
        "names": {model.id: model.name for model in evaluation.scored},
        "sources": {model.id: model.source for model in evaluation.models},
        "data": facts["tasks"],
        "scores": {
            model.id: {task: facts[f"score.{task}.{model.id}"]["scores"] for task in evaluation.tasks}
            for model in evaluation.scored
        },
        "comparisons": facts["compare"]["comparisons"],
    }
