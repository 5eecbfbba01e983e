"""Steps to be timed: the work of single stages on the small models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.regression import models
from harness.data.batches import Packed, pack
from harness.models.loading.checkpoint import load_checkpoint
from harness.models.surgery.axes import shorten
from harness.models.surgery.importance import measure_ffn_importance
from harness.train.finetuning.finetune import finetune
from harness.train.finetuning.protocol import Protocol
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import train
from harness.train.losses.objective import MLM, Objective

Step = Callable[[], object]
LENGTH, BATCH_TOKENS, STEPS, TEXTS = 64, 512, 2, 48
DISTILLING = Objective({"mlm": 0.5, "logit_mse": 0.5}, "attended")


def _budget() -> Budget:
    return Budget(
        tokens=(STEPS - 1) * BATCH_TOKENS + 1,
        batch_tokens=BATCH_TOKENS,
        sequence_length=LENGTH,
        learning_rate=1e-5,
        warmup_fraction=0.0,
        mask_fraction=0.15,
        precision="fp32",
        seed=3,
        checkpoint_s=1e9,
    )


def _rows(tokenizer: Any) -> Packed:
    return pack(models.read_documents(), tokenizer, LENGTH)


def _some_documents() -> list[list[str]]:
    return models.read_documents()[:20]


def corpus(folder: Path) -> Step:
    """Return a step that tokenises and packs the built-in corpus."""
    tokenizer, documents = load_checkpoint(folder / "teacher").tokenizer, _some_documents()
    return lambda: pack(documents, tokenizer, LENGTH)


def adapt(folder: Path) -> Step:
    """Return two training steps of masked-language modelling."""
    model, tokenizer = load_checkpoint(folder / "teacher")
    return _training(model, tokenizer)


def distill(folder: Path) -> Step:
    """Return two training steps that distil a teacher into a shorter student."""
    teacher, tokenizer = load_checkpoint(folder / "teacher")
    student = shorten(teacher, range(3))
    return _training(student, tokenizer, objective=DISTILLING, teacher=teacher)


def _training(student: Any, tokenizer: Any, **how: Any) -> Step:
    rows, settings = _rows(tokenizer), {"objective": MLM, **how}
    scratch = tempfile.TemporaryDirectory()

    def run() -> None:
        folder = Path(scratch.name)
        train(student, tokenizer, rows, budget=_budget(), folder=folder, progress=lambda *_: None, **settings)

    return run


def prune(folder: Path) -> Step:
    """Return a step that measures the importance of FFN neurons on two batches."""
    model, tokenizer = load_checkpoint(folder / "teacher")
    batches = MaskedBatches(_rows(tokenizer), tokenizer, _budget())
    chosen = [batches[number] for number in range(STEPS)]
    return lambda: measure_ffn_importance(model, chosen, "taylor")


def tune(folder: Path) -> Step:
    """Return a step that fine-tunes an epoch on the topics and predicts the test set."""
    tokenizer, whole = load_checkpoint(folder / "student").tokenizer, models.read_topics()
    data = replace(whole, train=whole.train[:TEXTS], test=whole.test[:6])
    protocol = Protocol(
        epochs=1,
        learning_rate=1e-4,
        batch_size=16,
        warmup_fraction=0.1,
        weight_decay=0.01,
        max_length=LENGTH,
        precision="fp32",
    )

    def run() -> None:
        with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng():
            finetune(
                folder / "student",
                tokenizer,
                data,
                protocol=protocol,
                seed=1,
                score=lambda answers: float(len(answers)),
                folder=Path(scratch) / "tuning",
            )

    return run


UNITS = {"corpus": "tokens", "adapt": "tokens", "distill": "tokens", "prune": "tokens", "tune": "texts"}


def count_work(name: str, folder: Path) -> int:
    """Return the useful tokens, or texts, of one call of a step."""
    tokenizer = load_checkpoint(folder / "teacher").tokenizer
    if name == "tune":
        return TEXTS
    if name == "corpus":
        return len(pack(_some_documents(), tokenizer, LENGTH).ids)
    return MaskedBatches(_rows(tokenizer), tokenizer, _budget()).tokens_at(STEPS)
