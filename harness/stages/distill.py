"""Train the student to imitate an earlier model of the run (two-step knowledge distillation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.stages.io.artifacts import read_budget, read_model, read_packed, write_step
from harness.stages.io.facts import TrainedStepFacts, TrainingFacts
from harness.train.language_model import training
from harness.train.losses.objective import Objective

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the trained student; its shape stays."""
    config = context.config
    student, tokenizer = read_model(context)
    packed = read_packed(context, tokenizer, config["sequence_length"])
    trained = training.train(
        student,
        tokenizer,
        packed,
        objective=_read_objective(config),
        teacher=read_model(context, "teacher").model,
        budget=read_budget(config, packed),
        folder=context.out,
        progress=context.progress,
    )
    step = write_step(context, student, tokenizer)
    return TrainedStepFacts(training=TrainingFacts(**trained), **vars(step))


def _read_objective(config: dict[str, Any]) -> Objective:
    return Objective(
        config["loss"],
        config["positions"],
        config.get("temperature"),
        config.get("layers", "uniform"),
        projection="projection" in config,
        relation_split=config.get("relation_split"),
    )
