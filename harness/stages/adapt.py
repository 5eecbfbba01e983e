"""Continue the teacher's pre-training (masked-language modelling) on the language's own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.adapt import ResolvedAdapt
from harness.stages.io.artifacts import make_budget, read_model, read_packed, write_step
from harness.stages.io.facts import TrainedStepFacts, TrainingFacts
from harness.train.language_model import training

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the adapted model; its shape stays."""
    model, tokenizer = read_model(context)
    amount = context.get_step(ResolvedAdapt).training
    packed = read_packed(context, tokenizer, amount.sequence_length, text_fraction=amount.text_fraction)
    trained = training.train(
        model,
        tokenizer,
        packed,
        budget=make_budget(amount, packed),
        folder=context.out,
        progress=context.progress,
    )
    step = write_step(context, model, tokenizer)
    return TrainedStepFacts(training=TrainingFacts(**trained), **vars(step))
