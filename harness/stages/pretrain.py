"""Trains a multilingual teacher from random weights on many languages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.config.shape import Shape
from harness.data import corpus
from harness.json_files import read_json, write_json
from harness.models.loading import checkpoint
from harness.models.surgery.stacking import stack_layers
from harness.stages.io.artifacts import budget, corpus_folder, write_model
from harness.train.language_model import teacher, training

if TYPE_CHECKING:
    from harness.pipeline.execute import Context
    from harness.train.language_model.teacher import PretrainingSetup


def run(context: Context) -> None:
    """Writes the teacher; a run that was cut off goes on from its last checkpoint.

    Facts: tokens heard in all, speed, the loss curve; of both halves where a shallow model comes first.
    """
    config, languages = context.config, context.config["languages"]
    shape, shallow = Shape(**config["shape"]), config.get("shallow")
    first = shape.model_copy(update={"layers": shallow["layers"]}) if shallow else shape
    newborn = teacher.prepare_pretraining(
        first,
        {
            language: corpus.read(corpus_folder(context.inputs["corpora"], language, languages), "train")
            for language in languages
        },
        smoothing=config["smoothing"],
        tokenizer_characters=config["tokenizer_characters"],
        sequence_length=config["sequence_length"],
        seed=config["seed"],
        embeddings=config.get("embeddings", "random"),
        attention=config.get("attention", "random"),
    )
    halves = []
    if shallow:
        halves.append(_train_shallow(context, newborn, shallow["tokens"], shallow["learning_rate"]))
        grown = checkpoint.load_checkpoint(context.checkpoints / "shallow" / "model").model
        newborn = newborn._replace(model=stack_layers(grown, shape.layers))
    halves.append(_train(context, newborn, config["tokens"]))
    context.facts["training"] = _join(halves)
    write_model(context, newborn.model, newborn.tokenizer)


def _train(context: Context, newborn: PretrainingSetup, tokens: int) -> dict[str, Any]:
    return training.train(
        newborn.model,
        newborn.tokenizer,
        newborn.packed,
        budget=replace(budget(context.config), tokens=tokens),
        folder=context.out,
        progress=context.progress,
    )


def _train_shallow(
    context: Context, newborn: PretrainingSetup, tokens: int, learning_rate: float
) -> dict[str, Any]:
    """Leaves the trained shallow model among the checkpoints, whole or not at all; trains it once."""
    folder = context.checkpoints / "shallow"
    facts = folder / "model" / "training.json"
    if not facts.is_file():
        part = folder / "model.part"
        trained = training.train(
            newborn.model,
            newborn.tokenizer,
            newborn.packed,
            budget=replace(budget(context.config), tokens=tokens, learning_rate=learning_rate),
            folder=folder,
            progress=context.progress,
        )
        checkpoint.save_checkpoint(newborn.model, newborn.tokenizer, part)
        write_json(part / facts.name, trained)
        part.rename(folder / "model")
    told: dict[str, Any] = read_json(facts)
    return told


def _join(halves: list[dict[str, Any]]) -> dict[str, Any]:
    """Gives the halves' figures as one training's; the loss curve is that of the last."""
    resumed = any(half["resumed"] for half in halves)
    tokens, train_s = (sum(half[name] for half in halves) for name in ("tokens", "train_s"))
    return {
        **halves[-1],
        "tokens": tokens,
        "steps": sum(half["steps"] for half in halves),
        "train_s": train_s,
        "tokens_per_s": None if resumed else tokens / train_s,
        "resumed": resumed,
        "halves": [{name: half[name] for name in ("tokens", "steps", "train_s")} for half in halves],
    }
