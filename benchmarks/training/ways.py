"""The ways of distilling that `benchmarks.training` compares, each a change of the way before it.

``published`` rewrites the loop of Gurgurov et al. 2025: every row padded to the longest length, the
logits of all positions over the whole vocabulary of both models, cross-entropy and mean squared difference
of those logits, float32, micro-batches of 8 rows. The last four are this project's own trainer.

Shapes: **B** batch, **L** length, **N** chosen positions, **D** hidden, **V** vocabulary.
"""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import get_linear_schedule_with_warmup

from harness.config.shape import Shape
from harness.data.batches import IGNORED, Packed
from harness.models.families.mlm_head import split_mlm_head
from harness.models.loading.checkpoint import build_model
from harness.models.surgery.axes import shorten
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import train
from harness.train.losses.objective import Objective, compute_teacher_gram, total_loss
from harness.train.trainer import OrderedTrainer, make_arguments, override_dropout

Batch = Mapping[str, Tensor]
Precision = Literal["fp32", "bf16"]
Loss = Callable[[nn.Module, nn.Module, Batch], Tensor]

WEIGHTS = {"mlm": 0.5, "logit_mse": 0.5}
OBJECTIVE = Objective(WEIGHTS, "attended")
MICRO_ROWS = 8
RATE = 5e-5
MEDIANS = {"documents": 250, "sentences": 25}
_SPREADS = {"documents": 0.7, "sentences": 0.5}
_SPECIAL = 5


@dataclass(frozen=True)
class Sizes:
    """Sizes of the models and of the batches.

    Attributes:
        shape: shape of the teacher; the student has half the layers.
        trimmed: vocabulary of both models where they are trimmed first.
        length: tokens in the longest row.
        batch_tokens: tokens in an optimiser step.
    """

    shape: Shape
    trimmed: int
    length: int = 512
    batch_tokens: int = 4096


def get_mbert_sizes() -> Sizes:
    """Return mBERT's sizes, and the vocabulary of its published students."""
    shape = Shape(
        family="bert", layers=12, hidden=768, heads=12, ffn=3072, vocabulary=119547, positions=512, types=2
    )
    return Sizes(shape, trimmed=40000)


def get_tiny_sizes() -> Sizes:
    """Return sizes for tests, with short steps."""
    shape = Shape(family="bert", layers=2, hidden=16, heads=2, ffn=24, vocabulary=90, positions=64, types=2)
    return Sizes(shape, trimmed=40, length=64, batch_tokens=512)


@dataclass(frozen=True)
class Ids:
    """The part of a tokenizer that a stream of masked batches needs."""

    vocabulary: int
    pad_token_id: int = 0
    mask_token_id: int = 4
    all_special_ids: tuple[int, ...] = tuple(range(_SPECIAL))

    def __len__(self) -> int:
        return self.vocabulary


def draw_rows(kind: str, sizes: Sizes, vocabulary: int, num_rows: int = 4000, seed: int = 0) -> Packed:
    """Return rows of random tokens with log-normal lengths around the kind's median, cut at the longest.

    The rows of the kind ``full`` all have the longest length.
    """
    drawn = np.random.default_rng(seed)
    lengths = np.full(num_rows, sizes.length)
    if kind in MEDIANS:
        median = MEDIANS[kind] * sizes.length / 512
        lengths = np.exp(drawn.normal(np.log(median), _SPREADS[kind], num_rows)).astype(np.int64)
        lengths = lengths.clip(4, sizes.length)
    ids = drawn.integers(_SPECIAL, vocabulary, int(lengths.sum())).astype(np.int32)
    return Packed(ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))


@dataclass(frozen=True)
class Pair:
    """A teacher, its student, and the vocabulary of both."""

    teacher: Any
    student: Any
    ids: Ids


def make_pair(sizes: Sizes, vocabulary: int) -> Pair:
    """Return a teacher with random weights, and the upper half of its layers as the student."""
    shape = sizes.shape.model_copy(update={"vocabulary": vocabulary})
    teacher = build_model(shape, seed=1).eval().requires_grad_(False)
    student = shorten(teacher, range(shape.layers // 2, shape.layers)).requires_grad_(True)
    return Pair(teacher, student, Ids(vocabulary))


def make_budget(
    sizes: Sizes, steps: int, precision: Precision = "fp32", *, activation_checkpointing: bool = False
) -> Budget:
    """Return a budget of a number of steps, with the settings of the recipe."""
    return Budget(
        tokens=(steps - 1) * sizes.batch_tokens + 1,
        batch_tokens=sizes.batch_tokens,
        sequence_length=sizes.length,
        learning_rate=RATE,
        warmup_fraction=0.0,
        mask_fraction=0.15,
        precision=precision,
        seed=3,
        weight_decay=0.0,
        checkpoint_s=1e9,
        activation_checkpointing=activation_checkpointing,
    )


def published_loss(student: nn.Module, teacher: nn.Module, batch: Batch) -> Tensor:
    """Return the published loss: over every position of the batch, padding too."""
    outputs = student(**batch)
    with torch.no_grad():
        targets = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    loss: Tensor = WEIGHTS["mlm"] * outputs.loss
    return loss + WEIGHTS["logit_mse"] * functional.mse_loss(outputs.logits, targets.logits)


def _features(model: Any, batch: Batch) -> Tensor:
    states_BLD = model.base_model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).last_hidden_state
    return split_mlm_head(model).transform(states_BLD[batch["attention_mask"].bool()])


def masked_loss(student: nn.Module, teacher: nn.Module, batch: Batch) -> Tensor:
    """Return the published loss without padding, with cross-entropy at the masked positions alone."""
    attended_BL = batch["attention_mask"].bool()
    labels_N = batch["labels"][attended_BL]
    _, weight_VD, bias_V = split_mlm_head(student)
    features_ND = _features(student, batch)
    with torch.no_grad():
        head = split_mlm_head(teacher)
        teacher_NV = functional.linear(_features(teacher, batch), head.weight_VD, head.bias_V)
    student_NV = functional.linear(features_ND, weight_VD, bias_V)
    masked_N = labels_N != IGNORED
    hard = functional.cross_entropy(student_NV[masked_N], labels_N[masked_N])
    return WEIGHTS["mlm"] * hard + WEIGHTS["logit_mse"] * functional.mse_loss(student_NV, teacher_NV)


class Loop:
    """A plain training loop with the steps of the library's trainer: clipping at 1, AdamW, a falling rate."""

    def __init__(self, pair: Pair, num_steps: int = 10**6) -> None:
        self.pair = pair
        self.parameters = list(pair.student.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=0.0, fused=True)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, 0, num_steps)

    def add(self, loss: Loss, batch: Batch) -> float:
        """Run one micro-batch forward and backward, and return its loss."""
        self.pair.student.train()
        value = loss(self.pair.student, self.pair.teacher, batch)
        torch.autograd.backward(value)
        return float(value.detach())

    def update(self) -> None:
        """Update the weights at the end of a step."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def warm_up(self) -> None:
        """Make the optimiser's state, with gradients of zero."""
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.update()


def pad_batch(batch: Batch, length: int) -> dict[str, Tensor]:
    """Return the batch padded to a length."""
    fill = {"input_ids": 0, "attention_mask": 0, "labels": IGNORED}
    more = length - batch["input_ids"].shape[1]
    return {name: functional.pad(one, (0, more), value=fill[name]) for name, one in batch.items()}


@dataclass(frozen=True)
class Part:
    """A timed part of a step: useful tokens, their forward and backward pass, and the update."""

    tokens: float
    seconds: float
    update_seconds: float

    def step_seconds(self, tokens: int) -> float:
        """Return the time of an optimiser step with a number of useful tokens."""
        return tokens / self.tokens * self.seconds + self.update_seconds


class LoopWay:
    """A plain loop, timed by one micro-batch and one update.

    Args:
        loop: the models and their optimiser.
        rows: rows of the corpus.
        sizes: sizes of batches.
        loss: loss of a micro-batch.
        padded: micro-batches of 8 rows, padded to the longest length; else batches by length.
    """

    def __init__(self, loop: Loop, rows: Packed, sizes: Sizes, loss: Loss, *, padded: bool) -> None:
        self.loop, self.rows, self.sizes, self.loss, self.padded = loop, rows, sizes, loss, padded
        width = MICRO_ROWS * sizes.length if padded else sizes.batch_tokens
        budget = replace(make_budget(sizes, 1), batch_tokens=width, tokens=int(rows.lengths.sum()))
        self.batches = MaskedBatches(rows, loop.pair.ids, budget)

    def batch(self, number: int) -> Batch:
        """Return a micro-batch."""
        batch = self.batches[number % len(self.batches)]
        if not self.padded:
            return batch
        chosen = np.random.default_rng(number).integers(0, len(batch["labels"]), MICRO_ROWS)
        return pad_batch({name: one[chosen] for name, one in batch.items()}, self.sizes.length)

    def time(self, number: int) -> Part:
        """Time one micro-batch and one update."""
        batch = self.batch(number)
        start = time.perf_counter()
        self.loop.add(self.loss, batch)
        middle = time.perf_counter()
        self.loop.update()
        end = time.perf_counter()
        # a padded micro-batch always takes as long: 8 rows count with their average length
        tokens = MICRO_ROWS * self.rows.lengths.mean() if self.padded else batch["attention_mask"].sum()
        return Part(float(tokens), middle - start, end - middle)


class TrainerWay:
    """This project's trainer, timed by its whole second step.

    Args:
        pair: the models.
        rows: rows of the corpus.
        budget: budget of two steps.
        folder: folder for the trainer's files.
    """

    def __init__(self, pair: Pair, rows: Packed, budget: Budget, folder: Path) -> None:
        self.pair, self.rows, self.budget, self.folder = pair, rows, budget, folder

    def time(self, number: int) -> Part:
        """Time one optimiser step."""
        budget = replace(self.budget, seed=number)
        ends: list[tuple[float, int]] = []
        train(
            self.pair.student,
            self.pair.ids,
            self.rows,
            objective=OBJECTIVE,
            teacher=self.pair.teacher,
            budget=budget,
            folder=self.folder,
            progress=lambda done, *_: ends.append((time.perf_counter(), done)),
        )
        gc.collect()
        (start, before), (end, after) = ends[:2]
        return Part(after - before, end - start, 0.0)


Way = LoopWay | TrainerWay
CHAIN = (
    "published",
    "batches by length",
    "masked positions",
    "Gram form",
    "bf16",
    "activation checkpointing",
    "trimmed first",
)
"""Each way adds one change to the way before it; from the Gram form on it is the harness's trainer."""


class Ways:
    """Make the ways; models are made at their first use, and shared."""

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        self.sizes, self.folder = sizes, folder
        self._loops: dict[int, Loop] = {}

    def loop(self, vocabulary: int) -> Loop:
        """Return the models of a vocabulary, with the optimiser of the plain loops."""
        if vocabulary not in self._loops:
            self._loops[vocabulary] = Loop(make_pair(self.sizes, vocabulary))
        return self._loops[vocabulary]

    def make(self, name: str, kind: str) -> Way:
        """Return a way of the chain, on rows of a kind."""
        vocabulary = self.sizes.trimmed if name == "trimmed first" else self.sizes.shape.vocabulary
        loop, rows = self.loop(vocabulary), draw_rows(kind, self.sizes, vocabulary)
        if name in CHAIN[:3]:
            if not loop.optimizer.state:
                loop.warm_up()
            loss = masked_loss if name == "masked positions" else published_loss
            return LoopWay(loop, rows, self.sizes, loss, padded=name == "published")
        place = CHAIN.index(name)
        precision: Precision = "bf16" if place >= CHAIN.index("bf16") else "fp32"
        sparing = place >= CHAIN.index("activation checkpointing")
        budget = make_budget(self.sizes, 2, precision, activation_checkpointing=sparing)
        return TrainerWay(loop.pair, rows, budget, self.folder)


def compare_losses(sizes: Sizes, num_steps: int, folder: Path) -> list[tuple[float, float]]:
    """Return the loss of every step, published and ours, from one start on the same rows without padding.

    Without padding both losses are equal; dropout is off.
    """
    pair = make_pair(sizes, sizes.shape.vocabulary)
    rows = draw_rows("full", sizes, len(pair.ids), num_rows=64)
    budget = make_budget(sizes, num_steps)
    batches, ours = MaskedBatches(rows, pair.ids, budget), copy.deepcopy(pair.student)
    loop, published, learnt = Loop(pair, len(batches)), [], []
    with override_dropout(pair.student, 0.0), override_dropout(ours, 0.0):
        for number in range(len(batches)):
            published.append(loop.add(published_loss, batches[number]))
            loop.update()
        loop.optimizer.state.clear()
        gram = compute_teacher_gram(OBJECTIVE, pair.teacher)

        def loss(model: nn.Module, batch: Batch, _: object) -> Tensor:
            value = total_loss(OBJECTIVE, model, pair.teacher, batch, gram)[0]
            learnt.append(float(value.detach()))
            return value

        OrderedTrainer(
            model=ours, args=make_arguments(folder, budget), train_dataset=batches, loss=loss
        ).train()
    return list(zip(published, learnt, strict=True))
