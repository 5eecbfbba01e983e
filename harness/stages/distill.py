"""Train the student to imitate an earlier model of the run (two-step knowledge distillation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.distill import ResolvedDistill
from harness.stages.io.artifacts import make_budget, read_model, read_packed, write_step
from harness.stages.io.facts import TrainedStepFacts, TrainingFacts
from harness.train.language_model import training
from harness.train.losses.objective import Objective
from harness.train.trackers import make_trackers

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the trained student; its shape stays."""
    step = context.get_step(ResolvedDistill)
    student, tokenizer = read_model(context)
    amount = step.training
    packed = read_packed(context, tokenizer, amount.sequence_length, text_fraction=amount.text_fraction)
    trained = training.train(
        student,
        tokenizer,
        packed,
        objective=make_objective(step),
        teacher=read_model(context, "teacher").model,
        budget=make_budget(amount, packed, checkpoint_s=context.checkpoint_s),
        folder=context.out,
        progress=context.progress,
        callbacks=make_trackers(context.trackers, context.out),
        group=context.group,
    )
    written = write_step(context, student, tokenizer)
    return TrainedStepFacts(training=TrainingFacts(**trained), **vars(written))


def make_objective(step: ResolvedDistill) -> Objective:
    """Return the losses of a step with their settings."""
    return Objective(
        step.loss,
        step.positions,
        step.temperature,
        step.layers or "uniform",
        projection=step.projection is not None,
        relation_split=step.relation_split,
    )
