"""Continue the teacher's pre-training (masked-language modelling) on the language's own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stages.io.artifacts import read_budget, read_model, read_packed, write_step
from harness.stages.io.facts import TrainedStepFacts, TrainingFacts
from harness.train.language_model import training

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the adapted model; its shape stays."""
    model, tokenizer = read_model(context)
    packed = read_packed(context, tokenizer, context.config["sequence_length"])
    trained = training.train(
        model,
        tokenizer,
        packed,
        budget=read_budget(context.config, packed),
        folder=context.out,
        progress=context.progress,
    )
    step = write_step(context, model, tokenizer)
    return TrainedStepFacts(training=TrainingFacts(**trained), **vars(step))
