"""Settings of `transformers.Trainer`, progress, checkpoints by time, exact resume.

A step's training is *one epoch over a list of batches that is known beforehand*: batch ``i`` depends on ``i``
alone, so that a run that was killed and resumed trains on the batches of an undisturbed run. The trainer
itself restores weights, optimiser, schedule and random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from harness.config.losses import LOSSES
from harness.errors import HarnessError
from harness.pipeline.checkpoints import is_sealed, seal_checkpoint
from harness.pipeline.store import CHECKPOINTS
from harness.train.fitting import FittingTrainer, VectorSums
from harness.train.language_model.budget import Budget
from harness.train.parts import BatchPart, weigh

Progress = Callable[[int, int, str, dict[str, Any]], None]
"""Called with done, total, the unit's name and figures to show (loss, …)."""

_LOGGED = {"loss": "loss", "grad_norm": "norm of the gradient", "train_loss": "loss"}
"""Key of the library's log → name in messages; ``train_loss`` is the mean of all steps, at the end."""

USUAL_INTERVAL_S = 60.0
"""Seconds between checkpoints, unless a user asks for others."""
_MOST_TIME = 0.05
"""Share of the time that checkpoints may take, unless a user asks for others."""


class TimedCheckpoint(TrainerCallback):  # type: ignore[misc]
    """Save a checkpoint when some seconds have passed since the last one.

    Args:
        interval_s: the seconds; None: a minute, or longer where checkpoints would take more than a twentieth
            of the time, as those of a large model do on a slow disk.
    """

    def __init__(self, interval_s: float | None) -> None:
        self.interval_s = USUAL_INTERVAL_S if interval_s is None else interval_s
        self.adapts = interval_s is None
        self.last_s = self.began_s = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Ask for a checkpoint when it is time; never at the last step, whose model the stage saves."""
        if time.monotonic() - self.last_s >= self.interval_s and state.global_step < state.max_steps:
            control.should_save = True
            self.began_s = time.monotonic()
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Write the checkpoint's manifest: a kill may come while a checkpoint is written."""
        seal_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.last_s = time.monotonic()
        if self.adapts:
            self.interval_s = max(USUAL_INTERVAL_S, (self.last_s - self.began_s) / _MOST_TIME)


class ReportProgress(TrainerCallback):  # type: ignore[misc]
    """Report to the stage how many tokens are done, and the loss."""

    def __init__(self, progress: Progress, tokens_at: Callable[[int], int], total_tokens: int) -> None:
        self.progress = progress
        self.tokens_at = tokens_at
        self.total_tokens = total_tokens
        self.loss = float("nan")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Keep the newest logged loss for the next progress line; end a training that has diverged."""
        self.loss = float((logs or {}).get("loss", self.loss))
        for key, name in _LOGGED.items():
            if key in (logs or {}):
                refuse_divergence(name, float(logs[key]))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Report after every optimiser step."""
        self.progress(self.tokens_at(state.global_step), self.total_tokens, "tokens", {"loss": self.loss})


class DivergedError(HarnessError):
    """A loss, or another figure of a training, was infinite or not a number."""


def refuse_divergence(name: str, value: float) -> None:
    """End a training that has diverged, before its model is written.

    Raises:
        DivergedError: the value is infinite or not a number.
    """
    if not math.isfinite(value):
        raise DivergedError(
            f"training: expected a finite {name}; got {value}: it diverged; lower the learning rate"
        )


class FiniteTrainer(FittingTrainer):
    """A trainer that ends at the first loss that is infinite or not a number."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Add the gradients of a batch, and return its loss.

        Raises:
            DivergedError: the loss is infinite or not a number.
        """
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        refuse_divergence("loss", float(loss))
        return loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch, a mean over its texts or labelled words."""
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        loss = weigh(loss, LOSSES["labels"], self.part)
        return (loss, outputs) if return_outputs else loss


class OrderedTrainer(FittingTrainer):
    """A trainer whose items are whole batches, taken in their own order.

    Args:
        loss: of the model on a batch, or on the part of it that is described (`harness.train.parts`).
        sum_vectors: as of `FittingTrainer`.
        schedule: the share of the highest rate in a step, of so many steps; None: as the settings say.
        kwargs: of the library's trainer.
    """

    def __init__(
        self,
        *,
        loss: Callable[[torch.nn.Module, dict[str, torch.Tensor], BatchPart | None], torch.Tensor],
        sum_vectors: VectorSums | None = None,
        schedule: Callable[[int, int], float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_collator=_unwrap_batch, **kwargs)
        self.loss = loss
        self.schedule = schedule
        self.sum_vectors = sum_vectors
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Any:
        chosen: Any = self.train_dataset if train_dataset is None else train_dataset
        assert isinstance(chosen, Sized)
        return SequentialSampler(chosen)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the step's loss, a mean over the positions of the micro-batch.

        The library puts autocast around a model's ``forward``, which the losses here do not call.
        """
        with self.accelerator.autocast():
            loss = self.loss(model, inputs, self.part)
        return (loss, None) if return_outputs else loss

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Any:
        """Return what sets the rate of each step."""
        schedule = self.schedule
        if schedule is None:
            return super().create_scheduler(num_training_steps, optimizer)
        self.lr_scheduler = LambdaLR(
            self.optimizer if optimizer is None else optimizer,
            lambda step: schedule(step, num_training_steps),
        )
        return self.lr_scheduler

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Return 0: the library's estimate would count the vocabulary projection at every position."""
        return 0


def _unwrap_batch(items: list[Any]) -> Any:
    """Return the only batch of a loader whose batch size is 1."""
    return items[0]


class OneDeviceArguments(TrainingArguments):  # type: ignore[misc]
    """The library's settings for one device: of several GPUs the first (``CUDA_VISIBLE_DEVICES`` chooses).

    By itself the library takes all GPUs: each step then has as many times the rows, and the model is wrapped
    in another whose parts a loss cannot reach.
    """

    @property
    def n_gpu(self) -> int:
        """Number of GPUs that training uses, 1 or 0."""
        return min(int(super().n_gpu), 1)


def make_arguments(folder: Path, budget: Budget, **overrides: Any) -> OneDeviceArguments:
    """Return the trainer's settings for a step: checkpoints by time alone, and no log but ours."""
    settings: dict[str, Any] = {
        "output_dir": str(folder / CHECKPOINTS),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": budget.accumulation,
        "activation_checkpointing": budget.activation_checkpointing,
        "learning_rate": budget.learning_rate,
        "warmup_steps": budget.warmup_fraction,
        "weight_decay": budget.weight_decay,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 1.0,
        "bf16": budget.precision == "bf16",
        "optim": "adamw_torch_fused",
        "seed": budget.seed,
        "data_seed": budget.seed,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "save_total_limit": 2,  # the older stays until the newer is complete
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }
    return OneDeviceArguments(**(settings | overrides))


def find_last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete checkpoint of an interrupted stage, or ``None``."""
    complete = filter(is_sealed, (folder / CHECKPOINTS).glob("checkpoint-*"))
    return max(map(str, complete), key=parse_step, default=None)


def parse_step(checkpoint: str) -> int:
    """Return the number of optimiser steps that a checkpoint was written after."""
    number = checkpoint.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


@contextmanager
def override_dropout(model: torch.nn.Module, probability: float | None) -> Iterator[None]:
    """Set every dropout of a model for a while; ``None`` leaves them as they are."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = layer.p if probability is None else probability
    try:
        yield
    finally:
        for layer, p in zip(layers, before, strict=True):
            layer.p = p


@contextmanager
def without_autocast(model: torch.nn.Module) -> Iterator[None]:
    """Remove for a while the autocast that the library has put around a model's ``forward``.

    The library leaves it there after a training, and does not put it there again for a second training.
    """
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.__dict__["forward"] = wrapped


@contextmanager
def fastest_attention(model: Any, precision: str) -> Iterator[None]:
    """Use for a while the attention whose backward pass is the fastest.

    On a CPU in bf16 that is the plain product of matrices: a step of a 6-layer model of width 256 on rows of
    128 tokens takes a quarter less time than with the fused kernel (one core of a Xeon with AMX).
    """
    before = getattr(model.config, "_attn_implementation", None)
    plain = precision == "bf16" and before == "sdpa" and not torch.cuda.is_available()
    if plain:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if plain:
            model.set_attn_implementation(before)
