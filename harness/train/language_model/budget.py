"""The amount of training of a step, and its rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Budget:
    """The amount of training of one step over a corpus.

    Attributes:
        tokens: attended tokens to train on in all; the corpus is repeated or cut to fit.
        batch_tokens: padded tokens of one optimiser step, at most.
        device_tokens: padded tokens that go through the model at once; smaller than ``batch_tokens``,
            gradients are accumulated. ``None``: the whole batch at once.
        activation_checkpointing: layers keep only their inputs and compute the rest again in the backward
            pass (Chen et al. 2016, "Training deep nets with sublinear memory cost"): the same gradients.
        sequence_length: tokens of the longest sequence, special tokens included.
        learning_rate: peak rate; it rises linearly over ``warmup_fraction`` of the steps and falls
            linearly to zero.
        warmup_fraction: share of the steps with a rising rate.
        weight_decay: decoupled, on matrices only (0.01: Devlin et al. 2019).
        mask_fraction: share of the positions to be predicted.
        precision: ``fp32``, or ``bf16`` (autocast; weights and optimiser stay in fp32).
        checkpoint_s: seconds between checkpoints; None: see `harness.train.trainer.TimedCheckpoint`.
        dropout: replaces the model's dropout while the step trains; ``None`` leaves it.
        seed: of masks, order and dropout.
        mask_smoothing: rare tokens are masked more often, in proportion to count^−mask_smoothing.
        freeze: parts of the model that are not trained.
    """

    tokens: int
    batch_tokens: int
    sequence_length: int
    learning_rate: float
    warmup_fraction: float
    mask_fraction: float
    precision: Literal["fp32", "bf16"]
    seed: int
    weight_decay: float = 0.01
    dropout: float | None = None
    checkpoint_s: float | None = None
    device_tokens: int | None = None
    activation_checkpointing: bool = False
    mask_smoothing: float | None = None
    freeze: tuple[str, ...] = ()

    @property
    def accumulation(self) -> int:
        """Micro-batches of an optimiser step."""
        if self.device_tokens is None or self.device_tokens >= self.batch_tokens:
            return 1
        return -(-self.batch_tokens // self.device_tokens)

    @property
    def micro_tokens(self) -> int:
        """Padded tokens that go through the model at once."""
        return -(-self.batch_tokens // self.accumulation)
