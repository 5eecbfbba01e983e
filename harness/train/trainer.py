"""The one door to `transformers.Trainer`: settings, progress, checkpoints by time, exact resume.

A step's whole training is *one epoch over a list of batches that is known beforehand*: batch ``i`` is the
same whoever asks and whenever, so a run that was killed and resumed sees the batches an undisturbed run
sees. The trainer itself restores weights, optimiser, schedule and random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from harness.errors import HarnessError
from harness.train.language_model.budget import Budget

Progress = Callable[[int, int, str, dict[str, Any]], None]
"""Called with done, total, the unit's name and figures worth showing (loss, …)."""

CHECKPOINTS = "checkpoints"
"""Folder inside a stage's own folder where checkpoints stand until the stage is done."""

_TOLD = {"loss": "loss", "grad_norm": "norm of the gradient", "train_loss": "loss"}
"""What the library logs, the loss of all steps at the end, and what messages call it."""

_WHOLE = "whole"
"""A checkpoint that holds this file was written to its end."""


class TimedCheckpoint(TrainerCallback):  # type: ignore[misc]
    """Saves a checkpoint when ``interval_s`` seconds have passed since the last one."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self.last_s = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Asks for a save when it is time; never for the last step, which the stage saves itself."""
        if time.monotonic() - self.last_s >= self.interval_s and state.global_step < state.max_steps:
            control.should_save = True
            self.last_s = time.monotonic()
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Marks the checkpoint as whole: a kill may come while one is being written."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()


class ReportProgress(TrainerCallback):  # type: ignore[misc]
    """Tells the stage how many tokens are done, and the loss."""

    def __init__(self, progress: Progress, tokens_at: Callable[[int], int], total_tokens: int) -> None:
        self.progress = progress
        self.tokens_at = tokens_at
        self.total_tokens = total_tokens
        self.loss = float("nan")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Keeps the newest logged loss for the next progress line; ends a training that has diverged."""
        self.loss = float((logs or {}).get("loss", self.loss))
        for name, told in _TOLD.items():
            if name in (logs or {}):
                refuse_divergence(told, float(logs[name]))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Reports after every optimiser step."""
        self.progress(self.tokens_at(state.global_step), self.total_tokens, "tokens", {"loss": self.loss})


def refuse_divergence(name: str, value: float) -> None:
    """Ends a training that cannot come to anything, before what it made is written.

    Raises:
        HarnessError: the value is infinite or no number.
    """
    if not math.isfinite(value):
        raise HarnessError(
            f"training: wanted a finite {name}; got {value}: it diverged; lower the learning rate"
        )


class OrderedTrainer(Trainer):  # type: ignore[misc]
    """A trainer whose items are whole batches, taken in their own order."""

    def __init__(
        self, *, loss: Callable[[torch.nn.Module, dict[str, torch.Tensor]], torch.Tensor], **kwargs: Any
    ) -> None:
        super().__init__(data_collator=_only, **kwargs)
        self.loss = loss
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
        """Gives the step's own loss; a mean over the positions of the micro-batch.

        The library sets autocast up around a model's own ``forward``, which a loss of parts does not call.
        """
        with self.accelerator.autocast():
            loss = self.loss(model, inputs)
        return (loss, None) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Not counted here: the estimate of the library knows nothing of masked positions."""
        return 0


def _only(items: list[Any]) -> Any:
    """Unwraps the one batch that a loader of batch size one hands over."""
    return items[0]


class OneDevice(TrainingArguments):  # type: ignore[misc]
    """The library's settings for one device: of several GPUs the first (``CUDA_VISIBLE_DEVICES`` chooses).

    Of itself the library takes all of them: each step then has as many times the rows, and the model is
    wrapped in one whose parts a loss cannot reach.
    """

    @property
    def n_gpu(self) -> int:
        """How many GPUs are trained on: one, or none."""
        return min(int(super().n_gpu), 1)


def arguments(folder: Path, budget: Budget, **overrides: Any) -> OneDevice:
    """Gives the trainer's settings for a step: no saves but timed ones, no logs but ours."""
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
        "save_total_limit": 2,  # the older one stays until the newer is whole
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }
    return OneDevice(**(settings | overrides))


def last_checkpoint(folder: Path) -> str | None:
    """Gives the newest whole checkpoint of a stage that was cut off, or ``None``."""
    whole = (path.parent for path in (folder / CHECKPOINTS).glob(f"checkpoint-*/{_WHOLE}"))
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


@contextmanager
def dropout(model: torch.nn.Module, probability: float | None) -> Iterator[None]:
    """Sets every dropout of a model for a while; ``None`` leaves them."""
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
def bare_forward(model: torch.nn.Module) -> Iterator[None]:
    """Takes back for a while the autocast that the library has put round a model's own ``forward``.

    The library leaves it there after a training, and does not put it there again for a second one.
    """
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.__dict__["forward"] = wrapped


@contextmanager
def fastest_attention(model: Any, precision: str) -> Iterator[None]:
    """Takes the attention whose backward pass is the fastest for a while.

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
