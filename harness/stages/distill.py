"""Trains the student towards an earlier model of the run (two-step knowledge distillation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stages.files import budget, read_model, read_packed, record_held_out, write_model
from harness.train import pretraining
from harness.train.losses import Objective

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the trained student; its shape stays."""
    config = context.config
    student, tokenizer = read_model(context)
    context.facts["training"] = pretraining.train(
        student,
        tokenizer,
        read_packed(context, tokenizer, config["sequence_length"]),
        objective=Objective(config["loss"], config["positions"], config.get("temperature")),
        teacher=read_model(context, "teacher").model,
        budget=budget(config),
        folder=context.out,
        progress=context.progress,
    )
    record_held_out(context, student, tokenizer)
    write_model(context, student, tokenizer)
