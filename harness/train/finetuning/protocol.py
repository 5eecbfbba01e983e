"""How a model is fine-tuned, and for how many epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Protocol:
    """How a model is fine-tuned; equal for all models that are compared.

    Attributes:
        epochs: passes over the training part.
        learning_rate: peak rate; linear rise and fall.
        batch_size: examples of one optimiser step.
        warmup_fraction: share of the steps with a rising rate.
        weight_decay: decoupled.
        max_length: tokens of the longest input; a longer sentence of a token task is cut at words.
        precision: ``fp32`` or ``bf16`` (autocast) of training; predictions are computed in fp32.
        dropout: replaces the model's dropout while it is fine-tuned; ``None`` leaves it.
        patience: epochs without a better score on dev after which training ends; ``None`` runs all epochs.
        evaluate_every: epochs from one score on dev to the next, where not every epoch has one.
        method: ``full`` trains every weight; ``adapter`` and ``lora`` train the head and their own weights;
            ``sft`` trains every weight, then starts again with the head and the weights that moved most.
        reduction: how many times narrower than the encoder an adapter is.
        rank: rank of LoRA's products.
        density: share of the encoder's weights that ``sft`` trains in the end.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    warmup_fraction: float
    weight_decay: float
    max_length: int
    precision: Literal["fp32", "bf16"]
    dropout: float | None = None
    patience: int | None = None
    evaluate_every: int | None = None
    method: Literal["full", "adapter", "lora", "sft"] = "full"
    reduction: int = 16
    rank: int = 8
    density: float = 0.08

    @property
    def settings(self) -> dict[str, Any]:
        """Settings besides the method that decide the outcome; settings of other methods are left out."""
        own = {"adapter": "reduction", "lora": "rank", "sft": "density"}
        others = [setting for method, setting in own.items() if method != self.method]
        return {name: value for name, value in vars(self).items() if name not in ("method", *others)}


LEAST_EPOCHS = 2
"""The fewest epochs of a task with many examples, since the best epoch is chosen among them."""


def choose_epochs(
    epochs: int, num_train: int, batch_size: int, *, max_examples: int | None, min_steps: int | None
) -> tuple[int, int | None]:
    """Return the epochs that suit a task's size, and how often dev is scored (None: after each epoch).

    Invariants: dev is scored ``epochs`` times at most.

    Args:
        epochs: the usual number.
        num_train: examples of the training part.
        batch_size: examples of one optimiser step.
        max_examples: the most examples over all epochs, though two epochs at least; ``None`` sets no bound.
        min_steps: the fewest optimiser steps over all epochs, which a small task reaches by more epochs.
    """
    chosen = epochs
    if max_examples is not None:
        chosen = min(epochs, max(LEAST_EPOCHS, max_examples // max(1, num_train)))
    if min_steps is not None:
        steps_per_epoch = max(1, math.ceil(num_train / batch_size))
        chosen = max(chosen, math.ceil(min_steps / steps_per_epoch))
    every = math.ceil(chosen / epochs)
    return chosen, every if every > 1 else None


def count_steps(protocol: Protocol, num_train: int) -> int:
    """Return the optimiser steps of a training on some examples that does not end early."""
    return protocol.epochs * math.ceil(num_train / protocol.batch_size)
