"""Trains the teacher on with masked-language modelling, on the language's own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stages.io.artifacts import budget, read_model, read_packed, record_held_out, write_model
from harness.train.language_model import training

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the adapted model; its shape stays."""
    model, tokenizer = read_model(context)
    packed = read_packed(context, tokenizer, context.config["sequence_length"])
    context.facts["training"] = training.train(
        model,
        tokenizer,
        packed,
        budget=budget(context.config, packed),
        folder=context.out,
        progress=context.progress,
    )
    record_held_out(context, model, tokenizer)
    write_model(context, model, tokenizer)
