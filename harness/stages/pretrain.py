"""Trains a multilingual teacher from random weights on many languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.shape import Shape
from harness.data import corpus
from harness.stages.files import budget, write_model
from harness.train import pretraining, teacher

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the teacher; a run that was cut off goes on from its last checkpoint.

    Facts: tokens heard in all, the loss curve.
    """
    config = context.config
    corpora = {
        language: corpus.read(context.inputs["corpora"] / language, "train") for language in config["languages"]
    }
    newborn = teacher.prepare(
        Shape(**config["shape"]),
        corpora,
        smoothing=config["smoothing"],
        tokenizer_characters=config["tokenizer_characters"],
        sequence_length=config["sequence_length"],
        seed=config["seed"],
    )
    context.facts["training"] = pretraining.train(
        newborn.model,
        newborn.tokenizer,
        newborn.packed,
        budget=budget(config),
        folder=context.out,
        progress=context.progress,
    )
    write_model(context, newborn.model, newborn.tokenizer)
