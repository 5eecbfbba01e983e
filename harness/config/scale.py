"""A scale says how much: teacher, text, training, scoring and timing, for a machine and its time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.baselines import BASELINE_NAMES, DEFAULT_BASELINES, TRIMMED
from harness.config.amounts import Amounts, Precision, TrainingAmounts
from harness.config.pretraining import Pretrain
from harness.config.shape import KNOWN_TEACHERS
from harness.config.steps import KINDS
from harness.config.steps.base import TextStep
from harness.config.values import (
    MOST_SEED,
    Count,
    Portion,
    Positive,
    Rate,
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
Method = Literal["full", "adapter", "lora", "sft"]
"""How a model is fine-tuned: all its weights; bottleneck adapters; low-rank products (peft)."""
ScoredModels = Literal["all", "final", "none"]
"""The models of a run that are scored; see `ScoreSettings.models`."""
SCORED_MODELS: tuple[str, ...] = get_args(ScoredModels)


def _read_rates(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or not value or len({str(rate) for rate in value}) != len(value):
        raise refusal(f"expected different learning rates, as [1e-4, 5e-5]; got '{value}'")
    return tuple(value)


Rates = Annotated[tuple[Rate, ...], BeforeValidator(_read_rates)]


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


class Finetune(Strict):
    """How a model is fine-tuned on one task; an absent setting is that of the score."""

    epochs: Count | None = None
    learning_rate: Rate | None = None
    learning_rates: Rates | None = None
    batch_size: Count | None = None
    warmup_fraction: Portion | None = None
    weight_decay: Portion | None = None
    dropout: Portion | None = None
    patience: Count | None = None
    max_examples: Count | None = None
    min_steps: Count | None = None
    method: Method | None = None
    reduction: Count | None = None
    rank: Count | None = None
    density: Share | None = None

    @model_validator(mode="after")
    def _check_rates(self) -> Finetune:
        if self.learning_rate is not None and self.learning_rates is not None:
            raise refusal("expected learning_rate or learning_rates; got both; remove one")
        return self


class TextTuning(Strict):
    """How long and how fast a student learns from text that a fine-tuned model labelled.

    `learning_rate`: None: the first of the task's.
    """

    epochs: Count = 2
    learning_rate: Rate | None = None


class ScoreSettings(Strict):
    """The protocol of fine-tuning and scoring, the same for every model in a report.

    Attributes:
        models: of a run: ``final`` scores the teacher, the trimmed teacher, the final student and the
            baselines; ``all`` also the models in between, and the trimmed teacher only where it is named
            among the baselines; ``none`` scores nothing and makes no baselines.
        learning_rates: rates of which the best on dev is chosen with the first seed, for each model and task;
            in place of ``learning_rate``.
        patience: epochs without a better score on dev after which fine-tuning stops; None: all epochs.
        max_examples: the most training examples that a fine-tuning sees: a task with many rows takes fewer
            whole epochs, at least two; None: no bound.
        min_steps: the fewest optimiser steps: a task with few rows takes more epochs; None: no bound.
        method: None: ``full``. An adapter is ``reduction`` times narrower than the model (16 by default),
            LoRA's products have a ``rank`` (8 by default).
        text: for a recipe whose last step has ``text``.
        baselines: to compare the models with; the trimmed teacher costs as much as the teacher and is a
            default only where ``models`` is ``final``.
    """

    models: ScoredModels = "final"
    seeds: tuple[int, ...]
    epochs: Count
    learning_rate: Rate | None = None
    learning_rates: Rates | None = None
    batch_size: Count
    warmup_fraction: Portion
    weight_decay: Portion
    dropout: Portion | None = None
    patience: Count | None = None
    max_examples: Count | None = None
    min_steps: Count | None = None
    method: Method | None = None
    reduction: Count | None = None
    rank: Count | None = None
    density: Share | None = None
    text: TextTuning = Field(default_factory=TextTuning)
    tasks: dict[str, Finetune] = Field(default_factory=dict)
    baselines: tuple[str, ...] = DEFAULT_BASELINES

    @field_validator("seeds", mode="before")
    @classmethod
    def _read_seeds(cls, value: Any) -> Any:
        whole = isinstance(value, list | tuple) and all(
            type(seed) is int and 0 <= seed <= MOST_SEED for seed in value
        )
        if not whole or not value or len(set(value)) != len(value):
            raise refusal(f"expected different whole numbers, as [1, 2]; got '{value}'")
        return tuple(value)

    @field_validator("baselines", mode="before")
    @classmethod
    def _read_baselines(cls, value: Any) -> Any:
        for name in value if isinstance(value, list | tuple) else [value]:
            if name not in BASELINE_NAMES:
                raise refusal(describe_unknown("baseline", name, BASELINE_NAMES))
        return tuple(value)

    @model_validator(mode="after")
    def _check_rates(self) -> ScoreSettings:
        if (self.learning_rate is None) == (self.learning_rates is None):
            given = "neither" if self.learning_rate is None else "both"
            raise refusal(f"expected learning_rate or learning_rates; got {given}; state one of them")
        return self

    @model_validator(mode="after")
    def _check_methods(self) -> ScoreSettings:
        for task in ("", *self.tasks):
            asked = self.for_task(task)
            for name, method in (("reduction", "adapter"), ("rank", "lora"), ("density", "sft")):
                if name in asked and asked.get("method") != method:
                    raise refusal(f"{name} goes with method: {method}, and only with it")
        return self

    @field_validator("tasks", mode="before")
    @classmethod
    def _read_tasks(cls, value: Any) -> Any:
        for name in value if isinstance(value, Mapping) else ():
            if name not in TASKS:
                raise refusal(describe_unknown("task", name, TASKS))
        return value

    def choose_baselines(self) -> tuple[str, ...]:
        """Return the names of a run's baselines; those that the scale names win."""
        if self.models == "none":
            return ()
        if self.models == "final" and "baselines" not in self.model_fields_set:
            return (TRIMMED, *self.baselines)
        return self.baselines

    def for_task(self, task: str) -> dict[str, Any]:
        """Return how a task is fine-tuned: the score's settings, with the task's own in their place."""
        settings = self.model_dump(include=set(Finetune.model_fields), exclude_none=True)
        own = self.tasks.get(task, Finetune()).model_dump(exclude_none=True)
        if {"learning_rate", "learning_rates"} & own.keys():
            settings.pop("learning_rate", None)
            settings.pop("learning_rates", None)
        return settings | own


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
