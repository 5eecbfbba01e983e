"""Train on a corpus by masked-language modelling and distillation; measure the loss on held-out text."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from harness.data.aligned_rows import AlignedRows
from harness.data.batches import IGNORED, Packed, pack
from harness.errors import HarnessError, first_line, is_out_of_memory
from harness.models.families.mlm_head import split_mlm_head
from harness.models.families.table import find_layout
from harness.ops.pool import memory_pool, refuse_overfull_memory
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.train.fitting import take_fewest
from harness.train.language_model.batches import MaskedBatches, make_batches
from harness.train.language_model.budget import Budget
from harness.train.language_model.layer_by_layer import LayerByLayer
from harness.train.losses.hidden_states import CENTRED
from harness.train.losses.objective import (
    MLM,
    Objective,
    compute_teacher_gram,
    sum_teacher_vectors,
    total_loss,
)
from harness.train.losses.projection import learned_projection
from harness.train.parts import BatchPart, split_rows
from harness.train.trainer import (
    OrderedTrainer,
    Progress,
    ReportProgress,
    TimedCheckpoint,
    fastest_attention,
    find_last_checkpoint,
    make_arguments,
    override_dropout,
    parse_step,
)

_LOGIT_ROWS = 128
"""Rows of the logits of held-out text that exist at once."""
_HELD_OUT_SEED = 20250516  # of the masks of held-out text, equal for every model and run


def train(
    student: nn.Module,
    tokenizer: Any,
    packed: Packed | AlignedRows,
    *,
    objective: Objective = MLM,
    teacher: nn.Module | None = None,
    progressive: float | None = None,
    budget: Budget,
    folder: Path,
    progress: Progress,
    callbacks: Sequence[TrainerCallback] = (),
    group: ProcessGroup = ALONE,
) -> dict[str, Any]:
    """Train the student in place and return the figures to record.

    Invariants: equal arguments give equal weights on one machine, also when the run was killed and called
    again with the same folder; the teacher does not change. Without dropout another number of processes
    changes the weights by the rounding of sums alone.

    Args:
        student: an MLM model.
        tokenizer: the student's.
        packed: rows of the corpus; with an objective that aligns, rows of student and teacher.
        objective: the losses.
        teacher: the model that losses compare with; ``None`` where none does.
        progressive: the layers learn one after another, those below the learning one at this share of the
            rate (`harness.train.language_model.layer_by_layer`); ``None``: all at once.
        budget: the amount of training.
        folder: where checkpoints are kept while training.
        progress: called after every step.
        callbacks: more of them, of the library's trainer.
        group: the processes that train together; the main process alone writes checkpoints.

    Raises:
        LostProcessError: another process has ended.

    Returns:
        ``tokens``, ``steps``, ``tokens_per_s``, ``train_s``, ``resumed``, ``losses`` (the curve); and
        ``fitting_tokens``, what went through the model at once after a batch did not fit into the memory.
    """
    with ExitStack() as stack:
        stack.enter_context(memory_pool())
        order = (
            None
            if progressive is None
            else LayerByLayer(student, progressive, warmup_fraction=budget.warmup_fraction)
        )
        stack.enter_context(freeze_parts(student, budget.freeze))
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            if objective.projection:
                stack.enter_context(learned_projection(student, teacher, budget.seed))
        stack.enter_context(override_dropout(student, budget.dropout))
        stack.enter_context(fastest_attention(student, budget.precision))
        batches = make_batches(packed, tokenizer, budget)
        stack.enter_context(refuse_overfull_memory())
        return _train(
            student,
            batches,
            objective,
            teacher,
            order=order,
            folder=folder,
            progress=progress,
            callbacks=callbacks,
            group=group,
        )


@contextmanager
def freeze_parts(student: Any, parts: Sequence[str]) -> Iterator[None]:
    """Keep some parts of a model unchanged while it trains."""
    family = find_layout(student) if parts else None
    kept = [
        parameter
        for name, parameter in student.named_parameters()
        if family and family.locate(name)[0] in parts
    ]
    for parameter in kept:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in kept:
            parameter.requires_grad_(True)


def _train(
    student: Any,
    batches: MaskedBatches,
    objective: Objective,
    teacher: nn.Module | None,
    *,
    order: LayerByLayer | None,
    folder: Path,
    progress: Progress,
    callbacks: Sequence[TrainerCallback],
    group: ProcessGroup,
) -> dict[str, Any]:
    budget, settings = batches.budget, make_arguments(folder, batches.budget)
    if teacher is not None:
        teacher.to(settings.device)
    gram = compute_teacher_gram(objective, teacher)

    def compute_loss(model: nn.Module, batch: dict[str, Tensor], part: BatchPart | None) -> Tensor:
        state, chosen = trainer.state, objective
        if order is not None:
            layer = order.find_layer(state.global_step, state.max_steps)
            chosen = replace(objective, only_layer=layer)
        return total_loss(chosen, model, teacher, batch, gram, part=part)[0]

    trainer = OrderedTrainer(
        model=student,
        args=settings,
        train_dataset=batches,
        loss=compute_loss,
        schedule=None if order is None else order.compute_rate,
        sum_vectors=None
        if teacher is None or not CENTRED.keys() & objective.weights.keys()
        else lambda batch: sum_teacher_vectors(objective, student, teacher, batch),
        group=group,
    )
    if group.rank == 0:
        trainer.add_callback(TimedCheckpoint(budget.checkpoint_s))
    if order is not None:
        trainer.add_callback(order)
    trainer.add_callback(ReportProgress(progress, batches.tokens_at, batches.tokens_at(len(batches))))
    for callback in callbacks:
        trainer.add_callback(callback)
    resumed_from = group.share(lambda: find_last_checkpoint(folder))
    started_s = time.monotonic()
    _resume(trainer, resumed_from)
    train_s = time.monotonic() - started_s
    student.to("cpu").eval()
    if budget.activation_checkpointing:
        student.activation_checkpointing_disable()
    tokens = batches.tokens_at(len(batches))
    return {
        "tokens": tokens,
        "steps": trainer.state.global_step,
        "tokens_per_s": None if resumed_from else tokens / train_s,
        "train_s": train_s,
        "resumed": resumed_from is not None,
        "fitting_tokens": take_fewest(*group.gather(trainer.fitting_tokens)),
        "losses": [entry for entry in trainer.state.log_history if "loss" in entry],
    }


def _resume(trainer: OrderedTrainer, checkpoint: str | None) -> None:
    """Train from a checkpoint or from the beginning.

    Raises:
        CannotResumeError: the checkpoint cannot be read, such as that of another version of a library.
    """
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except CannotResumeError:
        raise
    except Exception as error:  # each library that reads a part of a checkpoint has errors of its own
        moved = checkpoint is not None and trainer.state.global_step > parse_step(checkpoint)
        if checkpoint is None or moved or _is_of_the_machine(error):
            raise
        problem = f"{Path(checkpoint).name} cannot be resumed ({first_line(error)})"
        trainer.group.gather(problem)  # the others wait in `StartTogether`
        raise CannotResumeError(problem) from error


def _is_of_the_machine(error: Exception) -> bool:
    """Return whether an error is none of a checkpoint: too little memory, a full disk, a user's mistake."""
    in_system = isinstance(error, OSError) and error.errno is not None
    return is_out_of_memory(error) or in_system or isinstance(error, HarnessError)


@torch.no_grad()
def measure_held_out_loss(
    model: nn.Module, tokenizer: Any, lines: Iterable[Sequence[str]], *, budget: Budget, max_tokens: int
) -> dict[str, float]:
    """Return the masked-language loss on text that the model was not trained on.

    Invariants: the masks depend on text and tokenizer alone, so that models with one tokenizer compare.

    Args:
        model: an MLM model.
        tokenizer: the model's.
        lines: documents, each a sequence of lines; iterated over twice.
        budget: for sequence length, mask fraction, batch size and ``device_tokens``; nothing else is used.
        max_tokens: about how many tokens are read at most.

    Returns:
        ``loss`` (nats per masked token), ``perplexity``, ``loss_per_byte`` (loss × tokens / UTF-8 bytes of
        the text: comparable between vocabularies), ``masked`` (number of masked positions), ``accuracy``.
    """
    packed = pack(lines, tokenizer, budget.sequence_length)
    tokens = int(min(max_tokens, packed.lengths.sum()))
    batches = MaskedBatches(
        packed, tokenizer, replace(budget, tokens=max(1, tokens), seed=_HELD_OUT_SEED, device_tokens=None)
    )
    model.eval()
    total, correct, masked = 0.0, 0, 0
    for index in range(len(batches)):
        for part in split_rows(batches[index], budget.micro_tokens):
            loss, hits, count = _score_batch(model, part)
            total, correct, masked = total + loss, correct + hits, masked + count
    num_bytes = sum(len(line.encode()) for document in lines for line in document)
    tokens_per_byte = (packed.lengths - 2).sum() / max(1, num_bytes)
    mean = total / max(1, masked)
    return {
        "loss": mean,
        "perplexity": math.exp(min(mean, 700.0)),
        "loss_per_byte": mean * float(tokens_per_byte),
        "accuracy": correct / max(1, masked),
        "masked": masked,
    }


def _score_batch(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[float, int, int]:
    masked_BL = batch["labels"] != IGNORED
    encoder: Any = model.base_model
    states_BLD = encoder(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).last_hidden_state
    head = split_mlm_head(model)
    features_ND, labels_N = head.transform(states_BLD[masked_BL]), batch["labels"][masked_BL]
    loss, hits = 0.0, 0
    for rows_ND, gold_N in zip(
        torch.split(features_ND, _LOGIT_ROWS), torch.split(labels_N, _LOGIT_ROWS), strict=True
    ):
        logits_NV = nn.functional.linear(rows_ND, head.weight_VD, head.bias_V)
        loss += float(nn.functional.cross_entropy(logits_NV.float(), gold_N, reduction="sum"))
        hits += int((logits_NV.argmax(-1) == gold_N).sum())
    return loss, hits, len(labels_N)
