"""Fine-tune a model on one task with several seeds, and score the test part once for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from harness.config.steps.tune import ResolvedTune
from harness.data.examples import TaskData, gold_labels
from harness.errors import HarnessError
from harness.measure.scores import find_most_frequent, predict_most_frequent, score
from harness.measure.signature import format_protocol
from harness.models.loading import checkpoint
from harness.models.loading.encoder import load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.stages.io.artifacts import choose_precision, find_model_folder, read_task
from harness.stages.io.facts import (
    AttemptFacts,
    FinetunedScoresFacts,
    FinetuningFacts,
    MajorityFacts,
    SeedFacts,
)
from harness.stages.io.scores import name_model, write_scores
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.finetune import FinetunedModel, finetune, predict_test
from harness.train.finetuning.prediction import Labels
from harness.train.finetuning.protocol import Protocol, choose_epochs
from harness.train.finetuning.rate_selection import LOWER, MOST_REPEATS, DevPart, select_finetuning

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> FinetuningFacts:
    """Write ``scores.json``, ``predictions.json.gz`` (per seed and item) and the first seed's ``model``.

    Raises:
        HarnessError: the loss of every seed was not finite.
    """
    config = context.config
    data = read_task(context, config["task"])
    source = find_model_folder(context)
    tokenizer = load_task_tokenizer(open_model_folder(source))
    protocol, learning_rates = _read_protocol(context, len(data.train))
    distillation = _read_distillation(context)
    gold_dev = gold_labels(data, "dev")
    majority = _measure_majority(data)
    dev = DevPart(len({label for item in data.dev for label in item.labels}) > 1, majority.dev_score)
    text = _write_protocol(protocol, learning_rates, distillation)

    predictions: dict[int, Labels] = {}
    seeds: dict[str, SeedFacts] = {}
    dropped: dict[str, list[AttemptFacts]] = {}
    for done, seed in enumerate(config["seeds"]):
        context.progress(done, len(config["seeds"]), "seeds", {})

        def finetune_at(learning_rate: float, seed: int = seed) -> FinetunedModel:
            return finetune(
                source,
                tokenizer,
                data,
                protocol=replace(protocol, learning_rate=learning_rate),
                seed=seed,
                score=lambda labels: score(data.task.metrics[0], gold_dev, labels),
                folder=context.out / "scratch",
                distillation=distillation,
            )

        selection = select_finetuning(finetune_at, learning_rates, dev)
        attempts = [AttemptFacts(**asdict(attempt)) for attempt in selection.attempts]
        if selection.model is None:
            dropped[str(seed)] = attempts
            continue
        if config["keep_model"] and not predictions:
            checkpoint.save_checkpoint(selection.model.model, tokenizer, context.out / "model")
        predictions[seed] = predict_test(selection.model.model, tokenizer, data, protocol)
        seeds[str(seed)] = SeedFacts(
            best_epoch=selection.model.best_epoch,
            dev=selection.model.dev_scores,
            num_trained=selection.model.num_trained,
            learning_rate=selection.kept.learning_rate,
            attempts=attempts,
        )
        learning_rates = [selection.kept.learning_rate]
    if not predictions:
        raise HarnessError(
            f"score: {data.task.name}: expected a finite loss with one of the seeds; got none, down to a "
            f"learning rate of {min(learning_rates) * LOWER**MOST_REPEATS:g}; lower the scale's "
            "score.learning_rate"
        )
    scores = write_scores(
        context,
        data,
        predictions,
        protocol=text,
        model=name_model(source),
        packages=("torch", "transformers", "tokenizers", *(["peft"] if protocol.method == "lora" else [])),
        facts=FinetunedScoresFacts,
        seeds=seeds,
        dropped=dropped,
        majority=majority,
    )
    return FinetuningFacts(scores=scores)


def _measure_majority(data: TaskData) -> MajorityFacts:
    """Return the training part's most frequent label, its share there, and its score on dev."""
    train = [label for example in data.train for label in example.labels]
    gold_train, gold_dev = gold_labels(data, "train"), gold_labels(data, "dev")
    label = find_most_frequent(gold_train)
    return MajorityFacts(
        label=label,
        train_fraction=train.count(label) / len(train),
        dev_score=score(data.task.metrics[0], gold_dev, predict_most_frequent(gold_train, gold_dev)),
    )


def _read_protocol(context: Context, num_examples: int) -> tuple[Protocol, Sequence[float]]:
    """Return the protocol, and the learning rates of which one is chosen on dev."""
    settings = dict(context.config["protocol"])
    learning_rates = settings.pop("learning_rates", None) or [settings["learning_rate"]]
    settings["learning_rate"] = learning_rates[0]
    settings["precision"] = choose_precision(settings["precision"])
    settings["epochs"], settings["evaluate_every"] = choose_epochs(
        settings["epochs"],
        num_examples,
        settings["batch_size"],
        max_examples=settings.pop("max_examples", None),
        min_steps=settings.pop("min_steps", None),
    )
    return Protocol(**settings), learning_rates


def _write_protocol(
    protocol: Protocol, learning_rates: Sequence[float], distillation: TaskDistillation | None
) -> str:
    """Return the protocol as the signature states it: rates to choose from in place of a single rate."""
    settings = protocol.settings
    if len(learning_rates) > 1:
        del settings["learning_rate"]
        settings["learning_rates"] = "/".join(map(str, learning_rates))
    if distillation is not None:
        settings["lesson"] = str(distillation)
    return format_protocol(protocol.method, settings)


def _read_distillation(context: Context) -> TaskDistillation | None:
    """Return the task distillation that a tune step asks for; None for a model without such a step."""
    if context.step is None:
        return None
    step = context.get_step(ResolvedTune)
    return TaskDistillation(
        context.inputs["teacher"] / "model",
        step.loss,
        step.temperature,
        step.layers or "uniform",
        step.kept_layers,
    )
