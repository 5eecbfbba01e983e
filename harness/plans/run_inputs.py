"""The stages that every run begins with: teacher, tasks and text. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.steps.base import TEACHER, EarlierModels
from harness.config.steps.head import Head
from harness.config.teacher import TeacherSource, find_teacher
from harness.errors import HarnessError, UsageError
from harness.pipeline.plan import Stage
from harness.plans.data_stages import (
    LanguageTasks,
    check_language,
    find_task_language,
    find_tasks,
    list_text_languages,
    plan_corpus,
    plan_tasks,
)
from harness.plans.stage import make_stage, make_step_stage


@dataclass(frozen=True)
class RunInputs:
    """What every run begins with.

    Attributes:
        language: code.
        shape: of the teacher.
        tasks: that the data has in the language.
        start: the stage of the model that recipes call the teacher: the teacher itself, or the teacher with a
            masked-language head that was fitted here, where it was published without a head.
        stages: the tasks, the teacher, the corpus and the head.
    """

    language: str
    shape: Shape
    tasks: LanguageTasks
    start: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class SharedInputs:
    """What the plans of several runs share, so that it is read and planned once.

    Attributes:
        digests: of files and folders from outside.
        teachers: the stages that train a scale's teacher, by the scale's content.
    """

    digests: dict[Path, str] = field(default_factory=dict)
    teachers: dict[str, tuple[Stage, ...]] = field(default_factory=dict)

    def plan_pretraining(self, scale: Scale) -> tuple[Stage, ...]:
        """Return the stages that train the scale's teacher, planned by the first run."""
        content = scale.model_dump_json()
        if content not in self.teachers:
            self.teachers[content] = plan_pretraining(scale)
        return self.teachers[content]


def plan_inputs(language: str, recipe: Recipe, scale: Scale, shared: SharedInputs | None = None) -> RunInputs:
    """Return the teacher, the tasks and the text of a run.

    Raises:
        UsageError: the language does not exist, or the scale's lengths do not fit the teacher.
        HarnessError: a folder that should be read does not exist.
    """
    check_language(language, scale)
    teacher = find_teacher(recipe, scale)
    _check_lengths(teacher.shape, scale)
    other = find_task_language(recipe, language, scale)
    tasks = find_tasks(language, scale, other)
    kept_out = {language: tasks} | ({} if other is None else {other: find_tasks(other, scale)})
    stages = (
        # first: a bad line is refused before anything is trained
        plan_tasks(language, tasks.scored, scale, other),
        *_plan_teacher(teacher, scale, shared or SharedInputs()),
        plan_corpus("corpus", kept_out, scale, task_text=scale.corpus.task_text, unread=other),
    )
    if teacher.mlm_head:
        return RunInputs(language, teacher.shape, tasks, TEACHER, stages)
    head = _plan_head(teacher, scale)
    return RunInputs(language, teacher.shape, tasks, head.id, (*stages, head))


def _plan_head(teacher: TeacherSource, scale: Scale) -> Stage:
    """Return the stage that fits a masked-language head to a teacher that has none."""
    models = EarlierModels(teacher.shape, ())
    try:
        step = Head().resolve(models, scale.choose_amounts(Head.kind, Head.kind))
    except PydanticCustomError as error:
        raise UsageError(f"{scale.name}: training.head: {error.message()}") from None
    return make_step_stage(Head.kind, step, {"model": TEACHER, "corpus": "corpus"})


def _check_lengths(shape: Shape, scale: Scale) -> None:
    """Check, before anything is trained, that the teacher's positions hold the scale's inputs."""
    lengths = {"sequence_length": scale.sequence_length, "latency.lengths": max(scale.latency.lengths)}
    for name, length in lengths.items():
        if length > shape.max_length:
            raise UsageError(
                f"{scale.name}: {name}: expected at most the {shape.max_length} tokens that the teacher's "
                f"positions hold; got {length}; lower it"
            )


def _plan_teacher(teacher: TeacherSource, scale: Scale, shared: SharedInputs) -> tuple[Stage, ...]:
    if scale.teacher.pretrain is not None:
        return shared.plan_pretraining(scale)
    config: dict[str, Any] = {"shape": teacher.shape.model_dump()}
    known = teacher.published
    if known is None and scale.teacher.origin is None:
        return (make_stage(TEACHER, "fetch", config, {"folder": Path(str(scale.teacher.folder))}),)
    if known is None:
        hub_id, _, revision = str(scale.teacher.origin).partition("@")
        config |= {"name": hub_id, "hub_id": hub_id, "revision": revision}
        return (make_stage(TEACHER, "fetch", config, {}),)
    config |= {"name": known.hub_id, "hub_id": known.hub_id, "revision": known.revision}
    return (make_stage(TEACHER, "fetch", config, {}),)


def plan_pretraining(scale: Scale) -> tuple[Stage, ...]:
    """Return the two stages that train a teacher: the text of all its languages, and the training.

    Raises:
        HarnessError: the scale trains no teacher, or has no text of a language.
    """
    block = scale.teacher.pretrain
    if block is None:
        raise HarnessError(
            f"pretrain: expected a scale with teacher.pretrain; '{scale.name}' has none; choose another"
        )
    if block.languages == "all":
        languages = tuple(list_text_languages(scale))
    else:
        languages = block.languages
        for language in languages:
            check_language(language, scale, f"teacher.pretrain.languages of the scale '{scale.name}'")
    step = block.resolve(languages, scale.choose_amounts(TEACHER, "pretrain"))
    tasks = {language: find_tasks(language, scale) for language in languages}
    return (
        plan_corpus("corpora", tasks, scale, lines=block.lines),
        make_stage(TEACHER, "pretrain", step.to_config(), {"corpora": "corpora"}, step),
    )
