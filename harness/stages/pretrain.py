"""Train a multilingual teacher from random weights on many languages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.config.pretraining import ResolvedPretrain
from harness.data import corpus
from harness.models.surgery.stacking import stack_layers
from harness.stages.io.artifacts import locate_corpus, make_budget, write_model
from harness.stages.io.facts import PretrainFacts, PretrainingFacts, TrainingFacts, TrainingHalf
from harness.stages.io.kept_training import train_and_keep
from harness.train.fitting import take_fewest
from harness.train.language_model import teacher, training
from harness.train.trackers import make_trackers

if TYPE_CHECKING:
    from harness.pipeline.execute import Context
    from harness.train.language_model.budget import Budget
    from harness.train.language_model.teacher import PretrainingSetup


def run(context: Context) -> PretrainFacts:
    """Write the teacher; an interrupted training resumes from its last checkpoint.

    With ``shallow`` in the config a shallow model is trained first, and its layers are stacked.
    """
    step = context.get_step(ResolvedPretrain)
    shape, shallow, languages = step.shape, step.shallow, step.languages
    first = shape.model_copy(update={"layers": shallow.layers}) if shallow else shape
    setup = teacher.prepare_pretraining(
        first,
        {
            language: corpus.read(locate_corpus(context.inputs["corpora"], language, languages), "train")
            for language in languages
        },
        smoothing=step.smoothing,
        tokenizer_characters=step.tokenizer_characters,
        sequence_length=step.training.sequence_length,
        seed=step.training.seed,
        embeddings=step.embeddings or "random",
        attention=step.attention or "random",
    )
    halves, budget = [], make_budget(step.training, checkpoint_s=context.checkpoint_s)
    if shallow:
        smaller = replace(budget, tokens=shallow.tokens, learning_rate=shallow.learning_rate)
        trained, half = train_and_keep(
            context,
            "shallow",
            model=setup.model,
            tokenizer=setup.tokenizer,
            packed=setup.packed,
            budget=smaller,
        )
        halves.append(half)
        setup = setup._replace(model=stack_layers(trained, shape.layers))
    halves.append(_train(context, setup, budget))
    written = write_model(context, setup.model, setup.tokenizer)
    return PretrainFacts(training=_join(halves), **vars(written))


def _train(context: Context, setup: PretrainingSetup, budget: Budget) -> TrainingFacts:
    trained = training.train(
        setup.model,
        setup.tokenizer,
        setup.packed,
        budget=budget,
        folder=context.out,
        progress=context.progress,
        callbacks=make_trackers(context.trackers, context.out),
        group=context.group,
    )
    return TrainingFacts(**trained)


def _join(halves: list[TrainingFacts]) -> PretrainingFacts:
    """Add the halves up to one training; its loss curve is that of the last half."""
    resumed = any(half.resumed for half in halves)
    tokens, train_s = sum(half.tokens for half in halves), sum(half.train_s for half in halves)
    return PretrainingFacts(
        tokens=tokens,
        steps=sum(half.steps for half in halves),
        tokens_per_s=None if resumed else tokens / train_s,
        train_s=train_s,
        resumed=resumed,
        losses=halves[-1].losses,
        fitting_tokens=take_fewest(*(half.fitting_tokens for half in halves)),
        halves=[TrainingHalf(tokens=half.tokens, steps=half.steps, train_s=half.train_s) for half in halves],
    )
