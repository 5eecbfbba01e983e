"""Train a model on objects in memory: fit a masked-language head, and distil."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.compression import (
    Lines,
    Model,
    Progress,
    choose_sequence_length,
    group_lines,
    ignore_progress,
    make_amounts,
    refuse_in_one_line,
    resolve_step,
)
from harness.config.amounts import TrainingSettings
from harness.config.steps.base import EarlierModels
from harness.config.steps.distill import ResolvedDistill
from harness.config.steps.head import Head
from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import TrainerCallback

DEFAULT_LOSS: Mapping[str, float] = {"mlm": 0.5, "logit_mse": 0.5}


def fit_head(
    model: Model,
    text: Lines,
    *,
    tokens: int = 200_000,
    learning_rate: float = 1e-3,
    batch_tokens: int = 4096,
    mask_fraction: float = 0.15,
    warmup_fraction: float = 0.06,
    sequence_length: int | None = None,
    device_tokens: int | None = None,
    precision: str = "auto",
    seed: int = 1,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoints: str | Path | None = None,
) -> Model:
    """Fit a masked-language head to a model that was published without one; the encoder stays.

    The arguments are those of `distill`.
    """
    values = {
        "tokens": tokens,
        "learning_rate": learning_rate,
        "batch_tokens": batch_tokens,
        "mask_fraction": mask_fraction,
        "warmup_fraction": warmup_fraction,
    }
    length = choose_sequence_length(sequence_length, model)
    amounts = make_amounts(length, precision, seed, device_tokens)
    with refuse_in_one_line("fit_head"):
        step = Head.model_validate(values).resolve(EarlierModels(model.shape, ()), amounts)
    trained = _train(
        model,
        None,
        text,
        amount=step.training,
        objective=None,
        progress=progress,
        callbacks=callbacks,
        checkpoints=checkpoints,
    )
    return Model(trained, model.tokenizer)


def distill(
    student: Model,
    teacher: Model,
    text: Lines,
    *,
    tokens: int,
    loss: Mapping[str, float] = DEFAULT_LOSS,
    positions: str = "attended",
    temperature: float | None = None,
    layers: str | None = None,
    align: str | None = None,
    learning_rate: float = 5e-4,
    batch_tokens: int = 2048,
    mask_fraction: float = 0.2,
    warmup_fraction: float = 0.06,
    dropout: float | None = 0.0,
    sequence_length: int | None = None,
    device_tokens: int | None = None,
    precision: str = "auto",
    seed: int = 1,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoints: str | Path | None = None,
) -> Model:
    """Train a student to imitate a teacher with the same tokens, or with others that are aligned.

    Args:
        student: to train.
        teacher: to imitate.
        text: to train on, repeated or cut to the number of tokens.
        tokens: to train on in all.
        loss: losses and their weights; docs/recipes.md lists them.
        positions: attended or masked: where logits are compared.
        temperature: of the losses that use it.
        layers: which of the teacher's layers are compared with the student's, as ``uniform``.
        align: mean or last: the state of a span of text, where the teacher has other tokens.
        learning_rate: the highest.
        batch_tokens: tokens of an optimiser step.
        mask_fraction: share of the positions to be predicted.
        warmup_fraction: share of the steps in which the rate rises.
        dropout: while training; None leaves the student's.
        sequence_length: tokens of the longest sequence; None: 128, or as many as both models take.
        device_tokens: the most that go through a model at once; a larger batch is accumulated.
        precision: fp32, bf16, or auto: bf16 where the hardware multiplies it.
        seed: of masks, order and dropout.
        progress: called after each step, with the loss among the values.
        callbacks: of transformers' trainer.
        checkpoints: a folder for checkpoints, from which a later call with equal arguments goes on.

    Raises:
        UsageError: a number or a loss does not fit.
        HarnessError: the training diverged.
    """
    values = {
        "teacher": "teacher",
        "loss": dict(loss),
        "positions": positions,
        "temperature": temperature,
        "layers": layers,
        "align": align,
        "tokens": tokens,
        "learning_rate": learning_rate,
        "batch_tokens": batch_tokens,
        "mask_fraction": mask_fraction,
        "warmup_fraction": warmup_fraction,
        "dropout": dropout,
    }
    step = resolve_step(
        "distill",
        ResolvedDistill,
        {name: value for name, value in values.items() if value is not None},
        student.shape,
        teacher=teacher.shape,
        same_tokens=teacher.tokenizer.get_vocab() == student.tokenizer.get_vocab(),
        sequence_length=choose_sequence_length(sequence_length, student, teacher),
        precision=precision,
        seed=seed,
        device_tokens=device_tokens,
    )
    if teacher.has_new_head:
        raise HarnessError(
            "distill: expected a teacher with a masked-language head; got a new one; fit_head first"
        )
    from harness.stages.distill import make_objective  # noqa: PLC0415  loads torch

    objective = make_objective(step)
    trained = _train(
        student,
        teacher,
        text,
        amount=step.training,
        objective=objective,
        progress=progress,
        callbacks=callbacks,
        checkpoints=checkpoints,
    )
    return Model(trained, student.tokenizer)


def _train(
    student: Model,
    teacher: Model | None,
    text: Lines,
    *,
    amount: TrainingSettings,
    objective: Any,
    progress: Progress | None,
    callbacks: Sequence[TrainerCallback],
    checkpoints: str | Path | None,
) -> Any:
    """Return the network of the student after a training, by masked words alone where nothing teaches."""
    from harness.data.aligned_rows import pack_aligned  # noqa: PLC0415  loads torch
    from harness.data.batches import pack  # noqa: PLC0415
    from harness.stages.io.artifacts import make_budget  # noqa: PLC0415
    from harness.train.language_model import training  # noqa: PLC0415
    from harness.train.losses.objective import MLM  # noqa: PLC0415

    network = copy.deepcopy(student.network).requires_grad_(requires_grad=True)
    with tempfile.TemporaryDirectory() as scratch:
        length, folder = amount.sequence_length, Path(scratch)
        packed = (
            pack(group_lines(text), student.tokenizer, length)
            if teacher is None or objective.align is None
            else pack_aligned(group_lines(text), student.tokenizer, teacher.tokenizer, length, folder)
        )
        training.train(
            network,
            student.tokenizer,
            packed,
            objective=objective or MLM,
            teacher=None if teacher is None else teacher.network,
            budget=make_budget(amount, packed),
            folder=Path(checkpoints or scratch),
            progress=progress or ignore_progress,
            callbacks=callbacks,
        )
    return network
