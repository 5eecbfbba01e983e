"""The stages that read tasks and text, and which tasks the data has in a language."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.steps.base import ResolvedStep
from harness.config.steps.trim import ResolvedTrim
from harness.config.study import slugify
from harness.data import builtin
from harness.data.folder import list_languages
from harness.errors import UsageError, unknown
from harness.languages import LANGUAGES
from harness.pipeline.plan import Stage
from harness.plans.stage import make_stage
from harness.stages.io.data import data_inputs
from harness.tasks import CONLLU, TASKS, find_task

KEPT_OUT = ("dev", "test")
"""Parts of a task whose text no corpus may contain."""


class LanguageTasks(NamedTuple):
    """The tasks that the data has in a language.

    Attributes:
        scored: of the scale's tasks those that the data has, then the others that the scale asks for.
        excluded: tasks whose dev and test texts no corpus may contain: all that the data has.
        missing: tasks of the scale that the data does not have, with the reason.
    """

    scored: tuple[str, ...]
    excluded: tuple[str, ...]
    missing: dict[str, str]


def find_tasks(language: str, scale: Scale, task_language: str | None = None) -> LanguageTasks:
    """Return which tasks the scale's data has in a language, and why it lacks the others of the scale.

    With a task language, a task of which the data lacks that language is not scored.
    """
    own = _find_own_tasks(language, scale)
    if task_language is None:
        return own
    other = _find_own_tasks(task_language, scale)
    scored = tuple(name for name in own.scored if name in other.scored)
    lacking = {name: f"{other.missing.get(name, 'no such task')} ({task_language})" for name in own.scored}
    missing = {name: reason for name, reason in lacking.items() if name not in scored}
    return own._replace(scored=scored, missing=own.missing | missing)


def _find_own_tasks(language: str, scale: Scale) -> LanguageTasks:
    names = tuple(find_task(name).name for name in scale.tasks.names)
    missing = {name: reason for name in names if (reason := _find_reason_missing(name, language, scale))}
    present = tuple(name for name in names if name not in missing)
    others: tuple[str, ...] = ()
    if scale.tasks.source == "folder":
        unnamed = (name for name in TASKS if name not in names)
        others = tuple(name for name in unnamed if _find_reason_missing(name, language, scale) is None)
    scored = present + others if scale.tasks.others else present
    excluded = tuple(name for name in TASKS if name in (*present, *others))
    return LanguageTasks(scored, excluded, missing)


def _find_reason_missing(task: str, language: str, scale: Scale) -> str | None:
    """Return why the data lacks a task in a language; None where it has the task."""
    source, folder = scale.tasks.source, scale.tasks.folder
    if source == "folder":
        part = _name_part(f"{task}/{language}", "train")
        return None if os.path.isfile(f"{folder}/{part}") else f"{part} is not there"
    if source == "builtin":
        if task not in builtin.TASKS:
            return f"the built-in languages have no such task; there are: {', '.join(builtin.TASKS)}"
        return None if language in builtin.LANGUAGES else f"'{language}' is no built-in language"
    known = LANGUAGES.get(language)
    return None if known and task in known.tasks else f"no source on the hub is known for it in '{language}'"


def _name_part(task: str, part: str) -> str:
    """Return the file of a part of a task in a data folder; the task is named as ``topic/mt``."""
    return f"{task}/{part}{TASKS[task.partition('/')[0]].format.ending}"


def find_task_language(recipe: Recipe, language: str, scale: Scale) -> str | None:
    """Return the language that a recipe's tasks are learned in where it is another than the run's.

    Raises:
        UsageError: the data has no text of it, hence no tasks that are known.
    """
    if recipe.task_language in (None, language):
        return None
    known = list_text_languages(scale)
    if recipe.task_language not in known:
        raise unknown(f"task_language of {recipe.name}", str(recipe.task_language), known)
    return recipe.task_language


def check_language(language: str, scale: Scale, named_by: str = "") -> None:
    """Check that the scale's source has text of a language.

    Args:
        language: code.
        scale: whose source is read.
        named_by: where the language is named, for the message; empty: on the command line.

    Raises:
        UsageError: it has none; the message says which option helps.
    """
    corpus, known = scale.corpus, list_text_languages(scale)
    if language in known:
        return
    kinds = {"builtin": "built-in language", "hub": "language"}
    error = str(unknown(kinds.get(corpus.source, f"language of {corpus.folder}"), language, known))
    code = next((code for code, row in LANGUAGES.items() if row.name.lower() == language.lower()), None)
    if code is not None:
        raise UsageError(f"{error.partition(' Did you mean')[0]} Did you mean '{code}', {language}?")
    place = f"; {named_by} names it" if named_by else ""
    if error.endswith("?"):
        raise UsageError(f"{error[:-1]}{place}?")
    advice = {
        "builtin": "use --data DIR for text of your own, or a scale that reads the hub, as --scale laptop",
        "hub": "use --data DIR for text of your own",
        "folder": f"put its text into {corpus.folder}/corpus/{language}",
    }[corpus.source]
    raise UsageError(f"{error.rstrip('.')}{place}; {advice}")


def list_text_languages(scale: Scale) -> list[str]:
    """Return the languages of which the scale's source has text."""
    if scale.corpus.source == "folder":
        return list_languages(Path(str(scale.corpus.folder)))
    return list(builtin.LANGUAGES if scale.corpus.source == "builtin" else LANGUAGES)


def plan_tasks(language: str, tasks: Sequence[str], scale: Scale, task_language: str | None = None) -> Stage:
    """Return the stage ``tasks``, which reads the tasks of a language; train and dev, of a task language."""
    config: dict[str, Any] = {
        "source": scale.tasks.source,
        "language": language,
        "names": list(tasks),
        "sizes": _list_sizes(scale),
        "seed": scale.seed,
    }
    if scale.tasks.strict:
        config["strict"] = True
    if _reads_written_text(scale, tasks):
        config["written_text"] = True
    languages = [language]
    if task_language is not None:
        config["task_language"] = task_language
        languages.append(task_language)
    inputs = _name_inputs(scale.tasks.folder, [f"{task}/{one}" for task in tasks for one in languages])
    return make_stage("tasks", "tasks", config, inputs)


def plan_corpus(
    id: str,  # noqa: A002
    tasks: Mapping[str, LanguageTasks],
    scale: Scale,
    *,
    lines: int | None = None,
    source_language: str | None = None,
    task_text: bool = False,
    unread: str | None = None,
) -> Stage:
    """Return a stage that reads, cleans and splits the text of some languages.

    Args:
        id: of the stage.
        tasks: by language, the tasks that the data has in it, whose dev and test texts are kept out.
        scale: for the source, its sizes and the seed.
        lines: the most that is read of a language; None: as many as the scale says.
        source_language: of these two languages, whose text is mixed into the text of the other.
        task_text: whether the texts of the training parts of the stage `tasks` are added.
        unread: of these languages, the one whose text is not read.
    """
    read = [language for language in tasks if language != unread]
    excluded = {language: list(available.excluded) for language, available in tasks.items()}
    config: dict[str, Any] = {
        "source": scale.corpus.source,
        "tasks_source": scale.tasks.source,
        "languages": [language for language in read if language != source_language],
        "lines": lines or scale.corpus.lines,
        "held_out_fraction": scale.corpus.held_out_fraction,
        "seed": scale.seed,
        "excluded_tasks": excluded,
        "sizes": _list_sizes(scale),
    }
    if any(_reads_written_text(scale, names) for names in excluded.values()):
        config["written_text"] = True
    if source_language:
        config["source_language"] = source_language
    inputs = _name_inputs(scale.corpus.folder, [f"corpus/{language}" for language in read])
    named = [f"{task}/{language}" for language, names in excluded.items() for task in names]
    parts = [_name_part(task, part) for task in named for part in KEPT_OUT]
    labelled = {"tasks": "tasks"} if task_text else {}
    return make_stage(id, "corpus", config, {**inputs, **_name_inputs(scale.tasks.folder, parts), **labelled})


def plan_mixed_corpus(recipe: Recipe, language: str, tasks: LanguageTasks, scale: Scale) -> Stage | None:
    """Return the stage that mixes text of the recipe's source language into the language's own.

    None where the recipe has no source language, or has the language itself.

    Raises:
        UsageError: the data has no text of the source language.
    """
    source_language = recipe.source_language
    if source_language is None or source_language == language:
        return None
    known = list_text_languages(scale)
    if source_language not in known:
        raise unknown(f"source_language of {recipe.name}", source_language, known)
    return plan_corpus(
        name_mixed_corpus(source_language),
        {language: tasks, source_language: find_tasks(source_language, scale)},
        scale,
        source_language=source_language,
        task_text=scale.corpus.task_text,
    )


def plan_further_corpora(step: ResolvedTrim, language: str, scale: Scale) -> Stage:
    """Return the stage that reads the text of the further languages whose tokens a trim step keeps.

    Raises:
        UsageError: the data has no text of one of them.
    """
    for further in step.languages:
        check_language(further, scale, "languages of the step trim")
    tasks = {one: find_tasks(one, scale) for one in (language, *step.languages)}
    return plan_corpus(name_further_corpora(step.languages), tasks, scale, unread=language)


def name_further_corpora(languages: Sequence[str]) -> str:
    """Return the id of the stage that reads the text of further languages."""
    return "-".join(["corpora", *map(slugify, languages)])


def name_texts(step: ResolvedStep) -> dict[str, str | Path]:
    """Return the stages, by role, of the text that a step reads otherwise than every step.

    A trim step that counts several languages reads each by itself, and so the language's own corpus.
    """
    if not isinstance(step, ResolvedTrim) or not step.languages:
        return {}
    return {"corpus": "corpus", "corpora": name_further_corpora(step.languages)}


def name_mixed_corpus(source_language: str) -> str:
    """Return the id of the stage that mixes text of a source language in."""
    return f"corpus-{slugify(source_language)}"


def _name_inputs(folder: str | None, names: Sequence[str]) -> dict[str, Path]:
    return data_inputs(Path(folder), list(names)) if folder else {}


def _reads_written_text(scale: Scale, tasks: Sequence[str]) -> bool:
    """Return whether the written text of sentences is read from the hub, which it formerly was not.

    The keys of the stages that read it differ from those of stages that did not read it.
    """
    return scale.tasks.source == "hub" and any(TASKS[task].format == CONLLU for task in tasks)


def _list_sizes(scale: Scale) -> list[int | None]:
    """Return the most examples of train, dev and test; None: all."""
    return [scale.tasks.train, scale.tasks.dev, scale.tasks.test]
