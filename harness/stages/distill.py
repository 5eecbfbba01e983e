"""Trains the student towards an earlier model of the run (two-step knowledge distillation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.stages.io.artifacts import budget, read_model, read_packed, record_held_out, write_model
from harness.train.language_model import training
from harness.train.losses.objective import Objective

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the trained student; its shape stays."""
    config = context.config
    student, tokenizer = read_model(context)
    packed = read_packed(context, tokenizer, config["sequence_length"])
    context.facts["training"] = training.train(
        student,
        tokenizer,
        packed,
        objective=_objective(config),
        teacher=read_model(context, "teacher").model,
        budget=budget(config, packed),
        folder=context.out,
        progress=context.progress,
    )
    record_held_out(context, student, tokenizer)
    write_model(context, student, tokenizer)


def _objective(config: dict[str, Any]) -> Objective:
    return Objective(
        config["loss"],
        config["positions"],
        config.get("temperature"),
        config.get("layers", "uniform"),
        projection="projection" in config,
        relation_split=config.get("relation_split"),
    )
