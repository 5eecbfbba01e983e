"""Train the student to imitate an earlier model of the run (two-step knowledge distillation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.distill import ResolvedDistill
from harness.stages.io.artifacts import make_budget, read_aligned, read_model, read_packed, write_step
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
    teacher, amount = read_model(context, "teacher"), step.training
    length, fraction = amount.sequence_length, amount.text_fraction
    packed = (
        read_packed(context, tokenizer, length, text_fraction=fraction)
        if step.align is None
        else read_aligned(context, tokenizer, teacher.tokenizer, length, text_fraction=fraction)
    )
    trained = training.train(
        student,
        tokenizer,
        packed,
        objective=make_objective(step),
        teacher=teacher.model,
        progressive=step.progressive,
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
        align=step.align,
    )
