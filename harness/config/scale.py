"""A scale says how much: teacher, text, training, scoring and timing, for a machine and its time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.config.amounts import Amounts, Precision, TrainingAmounts
from harness.config.pretraining import Pretrain
from harness.config.score_settings import SCORED_MODELS, ScoreSettings
from harness.config.shape import KNOWN_TEACHERS
from harness.config.steps import KINDS
from harness.config.steps.base import TextStep
from harness.config.values import (
    Count,
    Positive,
    Seed,
    Share,
    Strict,
    describe_unknown,
    refusal,
)
from harness.errors import unknown
from harness.precisions import COPIES
from harness.tasks import TASKS

SOURCES = ("builtin", "folder", "hub")
READERS: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if issubclass(kind, TextStep))
"""The kinds of step that read text; a scale may set how much."""
BLANK = "blank"
"""The key of the numbers for steps in which random weights learn from words alone."""

Source = Literal["builtin", "folder", "hub"]


class Teacher(Strict):
    """Where the teacher comes from: trained here, the hub, or a folder; exactly one.

    Attributes:
        pretrain: how it is trained here.
        hub: ``recipe``, a published teacher's name, or a hub id ``organisation/name[@revision]``, which the
            command line replaces by the folder of the hub's cache and its origin.
        folder: of a saved model.
        origin: the hub id and the commit, ``organisation/name@commit``, of a folder in the hub's cache.
    """

    pretrain: Pretrain | None = None
    hub: str | None = None
    folder: str | None = None
    origin: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Teacher:
        if sum(source is not None for source in (self.pretrain, self.hub, self.folder)) != 1:
            raise refusal("expected exactly one of pretrain, hub, folder")
        known = ("recipe", *KNOWN_TEACHERS)
        if self.hub is not None and self.hub not in known and "/" not in self.hub:
            raise refusal(describe_unknown("teacher", self.hub, (*known, "a hub id organisation/name")))
        if self.origin is not None and self.folder is None:
            raise refusal("origin goes with folder, and only with it")
        return self


class _Sourced(Strict):
    source: Source
    folder: str | None = None

    @model_validator(mode="after")
    def _check_folder(self) -> _Sourced:
        if (self.source == "folder") != (self.folder is not None):
            raise refusal("'folder' goes with source: folder, and only with it")
        return self


class CorpusSettings(_Sourced):
    """The text to train on.

    `lines`: the most that is read of a language (None: all of it).
    `task_text`: whether the texts of the tasks' training parts are part of it, without their labels. A small
    corpus is often of one kind, as a Bible, and lacks words of the texts that the student will read.
    """

    lines: Count | None = None
    held_out_fraction: Share
    task_text: bool = False


class Tasks(_Sourced):
    """The labelled tasks, and the most examples of each part (None: all of them).

    `others`: whether tasks that the data folder has are scored too where `names` does not name them.
    `strict`: whether data that has to be read otherwise than it is written is an error.
    """

    names: tuple[str, ...]
    others: bool = False
    strict: bool = False
    train: Count | None = None
    dev: Count | None = None
    test: Count | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _read_names(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise refusal(f"expected tasks, as [pos, topic]; got '{value}'")
        for name in value:
            if name not in TASKS:
                raise refusal(describe_unknown("task", name, TASKS))
        return tuple(value)

    @model_validator(mode="after")
    def _check_others(self) -> Tasks:
        if self.others and self.source != "folder":
            raise refusal("others: true goes with source: folder, and only with it")
        return self


class Latency(Strict):
    """How long, and on how long inputs, each model is timed."""

    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    threads: Annotated[tuple[Count, ...], Field(min_length=1)]
    batch_size: Count
    seconds: Positive
    warmup_seconds: Positive
    rounds: Count


class ExportSettings(Strict):
    """What is written for deployment, and how closely it must agree with the original model.

    Attributes:
        precisions: of the final student's copies that the quality gate checks.
    """

    candidates: tuple[Literal["legacy", "dynamo"], ...]
    quantize: Literal["int8", "none"]
    parity_tolerance: Positive
    precisions: tuple[str, ...] = ()

    @field_validator("precisions", mode="before")
    @classmethod
    def _read_precisions(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise refusal(f"expected precisions, as [fp16, q4]; got '{value}'")
        for name in value:
            if name not in COPIES:
                raise refusal(describe_unknown("precision", name, COPIES))
        return tuple(value)

    @field_validator("candidates", mode="before")
    @classmethod
    def _read_candidates(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise refusal(f"expected graphs, as [legacy, dynamo]; got '{value}'")
        return tuple(value)


class Scale(Strict):
    """How much of everything; `harness.config.load.load_scale` reads it.

    `recipe` is taken where the command line names none. `device_tokens` is the most that goes through a
    model at once; a larger batch is accumulated in parts. With `activation_checkpointing` layers
    recompute their inner states in the backward pass. `reference_vocabulary` is for small teachers that
    are trained here: a teacher with fewer tokens keeps the share of its own tokens that a recipe's
    number is of the reference.
    """

    name: str
    recipe: str | None = None
    teacher: Teacher
    corpus: CorpusSettings
    tasks: Tasks
    training: dict[str, TrainingAmounts] = Field(default_factory=dict)
    sequence_length: Count
    precision: Precision
    seed: Seed
    device_tokens: Count | None = None
    activation_checkpointing: bool = False
    reference_vocabulary: Count | None = None
    score: ScoreSettings
    latency: Latency
    export: ExportSettings

    @field_validator("training", mode="before")
    @classmethod
    def _read_training(cls, value: Any) -> Any:
        for key, numbers in value.items() if isinstance(value, Mapping) else ():
            kind = "distill" if key == BLANK else re.sub(r"-[2-9]\d*$", "", key)
            if kind not in READERS:
                raise refusal(describe_unknown("trained step", key, (*READERS, BLANK, "distill-2, … by id")))
            allowed = [name for name in TrainingAmounts.model_fields if name in KINDS[kind].model_fields]
            for name, number in numbers.items() if isinstance(numbers, Mapping) else ():
                if name not in allowed and number is not None:
                    raise refusal(f"{key}: {describe_unknown('key', name, allowed)}")
        return value

    def choose_amounts(
        self, step_id: str, kind: str, *, from_scratch: bool = False, varied: Collection[str] = ()
    ) -> Amounts:
        """Return what this scale states for a step: by its kind, or by its id, which wins.

        Args:
            step_id: as ``distill-2``.
            kind: as ``distill``.
            from_scratch: whether random weights learn from words alone
                (`harness.config.steps.base.Step.learns_from_scratch`); what the scale states for them wins.
            varied: names of the step's own numbers that replace the scale's.

        Raises:
            PydanticCustomError: the step's epochs are varied, which the scale's tokens replace.
        """
        keys = (kind, step_id, *([BLANK] if from_scratch else []))
        tables = [self.training.get(key, TrainingAmounts()).model_dump(exclude_none=True) for key in keys]
        stated = {name: value for table in tables for name, value in table.items()}
        if "epochs" in varied and "tokens" in stated:
            raise refusal(
                f"the scale '{self.name}' states the tokens of {step_id}, which replace its epochs; "
                f"vary {step_id}.tokens"
            )
        training = {name: value for name, value in stated.items() if name not in varied}
        return Amounts(
            scale=self.name,
            sequence_length=self.sequence_length,
            precision=self.precision,
            seed=self.seed,
            training=TrainingAmounts(**training),
            device_tokens=self.device_tokens,
            activation_checkpointing=self.activation_checkpointing,
            reference_vocabulary=self.reference_vocabulary,
        )

    def with_data(self, folder: str) -> Scale:
        """Return a scale that reads the corpus, and every task of the folder, from a data folder."""
        place = {"source": "folder", "folder": folder}
        return self.model_copy(
            update={
                "corpus": self.corpus.model_copy(update=place),
                "tasks": self.tasks.model_copy(update=place | {"others": True}),
            }
        )

    def with_strict_data(self) -> Scale:
        """Return a scale that refuses labelled data that has to be read otherwise than it is written."""
        return self.model_copy(update={"tasks": self.tasks.model_copy(update={"strict": True})})

    def with_teacher(self, folder: str, origin: str | None = None) -> Scale:
        """Return a scale that takes its teacher from a folder, which may be the hub's cache of an origin."""
        return self.model_copy(update={"teacher": Teacher(folder=folder, origin=origin)})

    def with_scored_models(self, models: str) -> Scale:
        """Return a scale that scores other models of a run.

        Raises:
            UsageError: the word is not one of `SCORED_MODELS`.
        """
        if models not in SCORED_MODELS:
            raise unknown("choice of models to score", models, SCORED_MODELS)
        return self.model_copy(update={"score": self.score.model_copy(update={"models": models})})

    def with_tasks(self, names: Sequence[str]) -> Scale:
        """Return a scale that scores these tasks and no others.

        Raises:
            UsageError: there is no such task.
        """
        for name in names:
            if name not in TASKS:
                raise unknown("task", name, TASKS)
        return self.model_copy(
            update={"tasks": self.tasks.model_copy(update={"names": tuple(names), "others": False})}
        )
