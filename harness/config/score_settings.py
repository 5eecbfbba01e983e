"""The part of a scale that says how models are fine-tuned and scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.baselines import BASELINE_NAMES, DEFAULT_BASELINES, TRIMMED
from harness.config.values import (
    MOST_SEED,
    Count,
    Portion,
    Rate,
    Share,
    Strict,
    describe_unknown,
    refusal,
)
from harness.tasks import TASKS

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
