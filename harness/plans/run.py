"""Strings the stages of one run together: language, recipe and scale in, a plan out. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.recipe import Recipe
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.study import slug
from harness.config.teacher import find_known_teacher, find_shape
from harness.data import builtin
from harness.data.folder import list_languages
from harness.errors import HarnessError, UsageError, unknown
from harness.languages import LANGUAGES
from harness.pipeline.plan import Plan, Stage
from harness.plans.evaluation import (
    HELD_OUT_LENGTH,
    ROLE_FINAL,
    EvaluatedModel,
    TaskDistillationPlan,
    baseline_stages,
    choose_models,
    encoder_steps,
    final_of,
    make_stage,
    plan_task_distillation,
    score_stages,
)
from harness.precisions import FP32
from harness.stages.io.data import data_inputs
from harness.tasks import TASKS, task_named

KEPT_OUT = ("dev", "test")
"""Parts of a task whose text no corpus may hold."""


@dataclass(frozen=True)
class RunPlan:
    """A run before it has begun.

    Attributes:
        plan: its stages.
        steps: the recipe's steps with every number stated.
        scored: the models of the report, in its order.
        tasks: those scored: of the scale's those the data has, then what else a data folder has.
        missing_tasks: tasks of the scale that the data has not, with the reason.
    """

    plan: Plan
    steps: tuple[PlannedStep, ...]
    scored: tuple[EvaluatedModel, ...]
    tasks: tuple[str, ...]
    missing_tasks: Mapping[str, str]


def plan_run(language: str, recipe: Recipe, scale: Scale) -> RunPlan:
    """Gives the plan of a run.

    Raises:
        UsageError: the language, or something in recipe or scale, does not exist or does not fit.
        HarnessError: a folder that should be read is not there.
    """
    opening = plan_inputs(language, recipe, scale)
    tasks, missing = opening.tasks, opening.missing_tasks
    steps = resolve(recipe, scale, opening.shape)
    scored = choose_models(steps, scale, tasks)
    own = encoder_steps(steps)
    stages = [*opening.stages, *plan_mixed_corpus(language, recipe, scale)]
    stages += [*plan_steps(own, corpus=corpus_of(language, recipe)), *baseline_stages(own, scale, scored)]
    if tasks:
        stages += _proof_stages(scored, scale, tasks, plan_task_distillation(steps))
    stages.append(
        _report_stage(
            stages,
            language=language,
            recipe=recipe,
            scale=scale,
            scored=scored,
            tasks=tasks,
            missing=missing,
        )
    )
    return RunPlan(Plan(tuple(stages)), steps, scored, tasks, missing)


class RunInputs(NamedTuple):
    """What every run begins with: the teacher and the data."""

    stages: tuple[Stage, ...]
    shape: Shape
    tasks: tuple[str, ...]
    missing_tasks: dict[str, str]


def plan_inputs(language: str, recipe: Recipe, scale: Scale) -> RunInputs:
    """Gives the stages of teacher, tasks and corpus.

    Raises:
        UsageError: the language does not exist, or the scale's lengths do not fit the teacher.
        HarnessError: a folder that should be read is not there.
    """
    _check_language(language, scale)
    shape = find_shape(recipe, scale)
    _check_lengths(shape, scale)
    tasks, missing = available_tasks(language, scale)
    stages = (
        *_teacher_stages(recipe, scale, shape),
        plan_tasks(language, scale, tasks),
        _corpus_stage("corpus", (language,), scale),
    )
    return RunInputs(stages, shape, tasks, missing)


def corpus_of(language: str, recipe: Recipe) -> str:
    """Gives the stage whose text the steps of a recipe see; a language is never its own source language."""
    beside = recipe.source_language
    return "corpus" if beside is None or beside == language else f"corpus-{slug(beside)}"


def plan_mixed_corpus(language: str, recipe: Recipe, scale: Scale) -> tuple[Stage, ...]:
    """Gives the stage that mixes the language's text with the source language's, where a recipe asks for it.

    Raises:
        UsageError: the data has no text of the source language.
    """
    name = corpus_of(language, recipe)
    if name == "corpus":
        return ()
    known = _languages(scale.corpus.source, scale.corpus.folder)
    if recipe.source_language not in known:
        raise unknown(f"source_language of {recipe.name}", str(recipe.source_language), known)
    return (_corpus_stage(name, (language,), scale, source_language=recipe.source_language),)


def reads_hub(stage: Stage) -> bool:
    """Says whether a stage downloads; such a stage reads no other."""
    config = stage.config
    return "hub" in (config.get("source"), config.get("tasks_source")) or "hub_id" in config


def plan_pretraining(scale: Scale) -> tuple[Stage, ...]:
    """Gives the two stages that train a teacher: the text of all its languages, and the training."""
    block = scale.teacher.pretrain
    if block is None:
        raise HarnessError(
            f"pretrain: expected a scale with teacher.pretrain; '{scale.name}' has none; choose another"
        )
    languages = _pretraining_languages(scale)
    step = block.resolve(languages, scale.choose_amounts(TEACHER, "pretrain"))
    return (
        _corpus_stage("corpora", languages, scale, block.lines),
        make_stage(TEACHER, "pretrain", step.to_config(), {"corpora": "corpora"}, step),
    )


def _teacher_stages(recipe: Recipe, scale: Scale, shape: Shape) -> tuple[Stage, ...]:
    if scale.teacher.pretrain is not None:
        return plan_pretraining(scale)
    config: dict[str, Any] = {"shape": shape.model_dump()}
    if scale.teacher.folder is not None:
        return (make_stage(TEACHER, "fetch", config, {"folder": Path(scale.teacher.folder)}),)
    known = find_known_teacher(recipe, scale)
    assert known is not None
    config |= {"name": known.hub_id, "hub_id": known.hub_id, "revision": known.revision}
    return (make_stage(TEACHER, "fetch", config, {}),)


def report_header(scale: Scale) -> dict[str, Any]:
    """Gives what a report is told of its scale; a teacher's folder has its name here and in no other key."""
    told: dict[str, Any] = {
        "scale": scale.name,
        "data": scale.corpus.source,
        "precisions": [FP32] if scale.export.quantize == "none" else [FP32, scale.export.quantize],
    }
    if scale.teacher.folder is not None:
        told["teacher"] = Path(scale.teacher.folder).resolve().name
    return told


def _check_language(language: str, scale: Scale) -> None:
    corpus = scale.corpus
    known = _languages(corpus.source, corpus.folder)
    if language not in known:
        kinds = {"builtin": "built-in language", "hub": "language"}
        raise unknown(kinds.get(corpus.source, f"language of {corpus.folder}"), language, known)


def _check_lengths(shape: Shape, scale: Scale) -> None:
    """Refuses inputs that the models of a run could not take, before anything is trained."""
    asked = {"sequence_length": scale.sequence_length, "latency.lengths": max(scale.latency.lengths)}
    for name, length in asked.items():
        if length > shape.max_length:
            raise UsageError(
                f"{scale.name}: {name}: expected at most the {shape.max_length} tokens that the teacher's "
                f"positions hold; got {length}; lower it"
            )


def _languages(source: str, folder: str | None) -> list[str]:
    """Gives the languages of which a source has text."""
    if source == "folder":
        return list_languages(Path(str(folder)))
    return list(builtin.LANGUAGES if source == "builtin" else LANGUAGES)


def _pretraining_languages(scale: Scale) -> list[str]:
    expected = scale.teacher.pretrain.languages if scale.teacher.pretrain else ()
    if expected == "all":
        return _languages(scale.corpus.source, scale.corpus.folder)
    for language in expected:
        _check_language(language, scale)
    return list(expected)


def _data(folder: str | None, names: Sequence[str]) -> dict[str, Path]:
    return data_inputs(Path(folder), list(names)) if folder else {}


def _corpus_stage(
    id: str,  # noqa: A002
    languages: Sequence[str],
    scale: Scale,
    lines: int | None = None,
    source_language: str | None = None,
) -> Stage:
    read = [*languages, *([source_language] if source_language else [])]
    tasks = {
        language: list(dict.fromkeys(available_tasks(language, scale)[0] + _other_tasks(language, scale)))
        for language in read
    }
    config: dict[str, Any] = {
        "source": scale.corpus.source,
        "tasks_source": scale.tasks.source,
        "languages": list(languages),
        "lines": lines or scale.corpus.lines,
        "held_out_fraction": scale.corpus.held_out_fraction,
        "seed": scale.seed,
        "excluded_tasks": tasks,
        "sizes": _sizes(scale),
    }
    if source_language:
        config["source_language"] = source_language
    inputs = _data(scale.corpus.folder, [f"corpus/{language}" for language in read])
    named = [f"{task}/{language}" for language in read for task in tasks[language]]
    inputs |= _data(scale.tasks.folder, [_part_file(name, part) for name in named for part in KEPT_OUT])
    return make_stage(id, "corpus", config, inputs)


def _part_file(name: str, part: str) -> str:
    """Gives where a data folder has a part of a task in a language, which is named as ``topic/mt``."""
    return f"{name}/{part}{TASKS[name.partition('/')[0]].format.ending}"


def _sizes(scale: Scale) -> list[int | None]:
    """Gives the most examples of train, dev and test; ``None`` is all."""
    return [scale.tasks.train, scale.tasks.dev, scale.tasks.test]


def available_tasks(language: str, scale: Scale) -> tuple[tuple[str, ...], dict[str, str]]:
    """Gives the tasks to be scored in this language, and why the source lacks those of the scale it lacks."""
    names = tuple(task_named(name).name for name in scale.tasks.names)
    missing = {name: reason for name in names if (reason := reason_missing(name, language, scale))}
    there = tuple(name for name in names if name not in missing)
    return there + (_other_tasks(language, scale) if scale.tasks.others else ()), missing


def _other_tasks(language: str, scale: Scale) -> tuple[str, ...]:
    """Gives the tasks that the data folder has in this language and the scale does not name."""
    if scale.tasks.source != "folder":
        return ()
    return tuple(
        name
        for name in TASKS
        if name not in scale.tasks.names and reason_missing(name, language, scale) is None
    )


def reason_missing(task: str, language: str, scale: Scale) -> str | None:
    """Gives the reason why a task cannot be had in a language; ``None`` where it can."""
    source, folder = scale.tasks.source, scale.tasks.folder
    if source == "folder":
        part = _part_file(f"{task}/{language}", "train")
        return None if (Path(str(folder)) / part).is_file() else f"{part} is not there"
    if source == "builtin":
        if task not in builtin.TASKS:
            return f"the built-in languages have no such task; there are: {', '.join(builtin.TASKS)}"
        return None if language in builtin.LANGUAGES else f"'{language}' is no built-in language"
    known = LANGUAGES.get(language)
    return None if known and task in known.tasks else f"no source on the hub is known for it in '{language}'"


def plan_tasks(language: str, scale: Scale, tasks: Sequence[str]) -> Stage:
    """Gives the stage that reads the tasks, named ``tasks``."""
    config = {
        "source": scale.tasks.source,
        "language": language,
        "names": list(tasks),
        "sizes": _sizes(scale),
        "seed": scale.seed,
    }
    return make_stage(
        "tasks", "tasks", config, _data(scale.tasks.folder, [f"{task}/{language}" for task in tasks])
    )


def plan_steps(steps: Sequence[PlannedStep], prefix: str = "", corpus: str = "corpus") -> list[Stage]:
    """Gives a stage for each step of a recipe, named by its id after a prefix; all see one corpus."""
    stages, before = [], TEACHER
    for step in steps:
        inputs: dict[str, str | Path] = {"model": before, "corpus": corpus}
        config = {**step.step.to_config(), "held_out_length": HELD_OUT_LENGTH}
        taught = step.step.teacher
        if taught is not None:
            inputs["teacher"] = taught if taught == TEACHER else f"{prefix}{taught}"
        before = f"{prefix}{step.id}"
        stages.append(make_stage(before, step.kind, config, inputs, step.step))
    return stages


def _proof_stages(
    scored: Sequence[EvaluatedModel],
    scale: Scale,
    tasks: Sequence[str],
    distillation: TaskDistillationPlan | None,
) -> list[Stage]:
    stages = score_stages(scored, scale, tasks, distillation)
    for task in tasks:
        for role, model_id in ((TEACHER, TEACHER), (ROLE_FINAL, final_of(scored))):
            stages.append(plan_export(role, model_id, task, scale))
    if scale.export.precisions:
        stages.append(_precisions_stage(tasks, scale))
    return [*stages, plan_latency(tasks, scale)]


def plan_export(role: str, model_id: str, task: str, scale: Scale) -> Stage:
    """Gives the stage that exports a model fine-tuned on a task."""
    config = {
        "task": task,
        "lengths": list(scale.latency.lengths),
        "candidates": list(scale.export.candidates),
        "quantize": scale.export.quantize,
        "parity_tolerance": scale.export.parity_tolerance,
        "seconds": scale.latency.seconds,
        "seed": scale.seed,
    }
    return make_stage(f"export.{task}.{role}", "export", config, {"model": f"score.{task}.{model_id}"})


def _precisions_stage(tasks: Sequence[str], scale: Scale) -> Stage:
    config = {
        "tasks": list(tasks),
        "precisions": list(scale.export.precisions),
        "max_length": scale.sequence_length,
    }
    inputs = {f"{ROLE_FINAL}.{task}": f"export.{task}.{ROLE_FINAL}" for task in tasks}
    return make_stage("precisions", "precisions", config, inputs | {"tasks": "tasks", "corpus": "corpus"})


def plan_latency(tasks: Sequence[str], scale: Scale, roles: Sequence[str] = (TEACHER, ROLE_FINAL)) -> Stage:
    """Gives the stage that times the exports side by side; the scale's seconds are for two models."""
    config = {"tasks": list(tasks), "seed": scale.seed, **scale.latency.model_dump(mode="json")}
    if len(roles) > 2:
        config["seconds"] *= len(roles) / 2
    inputs = {f"{role}.{task}": f"export.{task}.{role}" for task in tasks for role in roles}
    return make_stage("latency", "latency", config, inputs)


def _report_stage(
    stages: Sequence[Stage],
    *,
    language: str,
    recipe: Recipe,
    scale: Scale,
    scored: Sequence[EvaluatedModel],
    tasks: Sequence[str],
    missing: Mapping[str, str],
) -> Stage:
    config = {
        "language": language,
        "recipe": recipe.name,
        "recipe_source": recipe.source,
        "scored": [vars(model) for model in scored],
        "tasks": list(tasks),
        "missing_tasks": dict(missing),
        **report_header(scale),
    }
    return make_stage("report", "report", config, {stage.id: stage.id for stage in stages})
