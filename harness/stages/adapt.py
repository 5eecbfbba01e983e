"""Continue the teacher's pre-training (masked-language modelling) on the language's own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.amounts import TrainingSettings
from harness.config.steps.adapt import ResolvedAdapt
from harness.stages.io.artifacts import make_budget, read_model, read_packed, train_masked, write_step
from harness.stages.io.facts import TrainedStepFacts, TrainingFacts
from harness.stages.io.kept_training import train_and_keep
from harness.train.finetuning.sparse import SparseUpdate, choose_most_moved, copy_weights
from harness.train.fitting import take_fewest
from harness.train.language_model import training
from harness.train.trackers import make_trackers

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TrainedStepFacts:
    """Write the adapted model; its shape stays."""
    step = context.get_step(ResolvedAdapt)
    if step.density is None:
        return train_masked(context, step.training)
    return _train_sparsely(context, step.training, step.density)


def _train_sparsely(context: Context, amount: TrainingSettings, density: float) -> TrainedStepFacts:
    """Train all weights, then start again and train only those that moved most.

    Source: Ansell et al. 2022, section 2.1: a sparse fine-tuning of a language.
    """
    model, tokenizer = read_model(context)
    packed = read_packed(context, tokenizer, amount.sequence_length, text_fraction=amount.text_fraction)
    budget = make_budget(amount, packed, checkpoint_s=context.checkpoint_s)
    moved, whole = train_and_keep(
        context, "whole", model=model, tokenizer=tokenizer, packed=packed, budget=budget
    )
    model, _ = read_model(context)
    start = copy_weights(model)
    chosen = choose_most_moved(start, copy_weights(moved), density)
    trained = training.train(
        model,
        tokenizer,
        packed,
        budget=budget,
        folder=context.out,
        progress=context.progress,
        callbacks=(SparseUpdate(start, chosen), *make_trackers(context.trackers, context.out)),
        group=context.group,
    )
    written = write_step(context, model, tokenizer)
    return TrainedStepFacts(training=_join(whole, TrainingFacts(**trained)), **vars(written))


def _join(whole: TrainingFacts, sparse: TrainingFacts) -> TrainingFacts:
    """Add two trainings up to one; the loss curve is that of the second."""
    resumed = whole.resumed or sparse.resumed
    tokens, train_s = whole.tokens + sparse.tokens, whole.train_s + sparse.train_s
    return sparse.model_copy(
        update={
            "tokens": tokens,
            "steps": whole.steps + sparse.steps,
            "tokens_per_s": None if resumed else tokens / train_s,
            "train_s": train_s,
            "resumed": resumed,
            "fitting_tokens": take_fewest(whole.fitting_tokens, sparse.fitting_tokens),
        }
    )
