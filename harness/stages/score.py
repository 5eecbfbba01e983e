"""Fine-tune a model on one task with several seeds, and score the test part once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.config.steps.tune import ResolvedTune
from harness.data import corpus
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
    LabelledTextFacts,
    MajorityFacts,
    SeedFacts,
)
from harness.stages.io.scores import name_model, write_scores
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.finetune import predict_test
from harness.train.finetuning.prediction import Labels
from harness.train.finetuning.progress import StepCount
from harness.train.finetuning.protocol import Protocol, choose_epochs
from harness.train.finetuning.rate_selection import (
    DIVERGED,
    LOWER,
    MOST_REPEATS,
    DevPart,
    select_finetuning,
)
from harness.train.finetuning.resuming import SelectionCheckpoints
from harness.train.finetuning.task_training import TaskTraining
from harness.train.fitting import take_fewest
from harness.train.trainer import USUAL_INTERVAL_S, DivergedError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from harness.pipeline.execute import Context

OTHER_MODELS = "models"
"""The folder of the models of all seeds but the first, one a seed."""


def run(context: Context) -> FinetuningFacts:
    """Write ``scores.json``, ``predictions.json.gz`` (per seed and item) and the first seed's ``model``.

    The other seeds' models, where a student learns from all, are in ``models/<seed>``.

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
    written = _write_protocol(protocol, learning_rates, distillation)
    training = TaskTraining(
        source,
        tokenizer,
        data,
        protocol,
        lambda labels: score(data.task.metrics[0], gold_dev, labels),
        context.out / "scratch",
        distillation,
        group=context.group,
    )
    if distillation is not None and distillation.stores_logits:
        training = training.label(_read_lines(context, distillation), _read_text_protocol(context, protocol))

    outcome = _finetune_seeds(context, training, learning_rates, dev)
    context.leave_to_main()
    training.remove_files()
    scores = write_scores(
        context,
        data,
        outcome.predictions,
        protocol=written,
        model=name_model(source),
        packages=("torch", "transformers", "tokenizers", *(["peft"] if protocol.method == "lora" else [])),
        facts=FinetunedScoresFacts,
        seeds=outcome.seeds,
        dropped=outcome.dropped,
        majority=majority,
        text=_describe_text(training),
    )
    return FinetuningFacts(scores=scores)


@dataclass
class _Outcome:
    """The fine-tunings of all seeds.

    Attributes:
        predictions: labels of the test part by seed.
        seeds: each fine-tuning.
        dropped: the attempts of seeds of which none had a finite loss.
    """

    predictions: dict[int, Labels] = field(default_factory=dict)
    seeds: dict[str, SeedFacts] = field(default_factory=dict)
    dropped: dict[str, list[AttemptFacts]] = field(default_factory=dict)


def _finetune_seeds(
    context: Context, training: TaskTraining, learning_rates: Sequence[float], dev: DevPart
) -> _Outcome:
    """Fine-tune with each seed, the first of which chooses the rate; keep the models that are asked for.

    Raises:
        HarnessError: the loss of every seed was not finite.
    """
    outcome, config = _Outcome(), context.config
    num_seeds = len(config["seeds"])
    num_finetunings = num_seeds + len(learning_rates) - 1
    steps = StepCount(
        context.progress, num_seeds * training.num_text_steps + num_finetunings * training.num_steps
    )
    training = replace(training, callbacks=(steps,))
    interval_s = USUAL_INTERVAL_S if context.checkpoint_s is None else context.checkpoint_s
    checkpoints = SelectionCheckpoints(context.checkpoints, interval_s, context.group)
    num_attempts = 0
    for number, seed in enumerate(config["seeds"]):
        try:
            start = training.learn_from_text(seed, context.checkpoints / f"text-{seed}")
        except DivergedError:
            rate = _read_text_protocol(context, training.protocol).learning_rate
            failed = AttemptFacts(learning_rate=rate, dev_score=None, problem=DIVERGED)
            outcome.dropped[str(seed)] = [failed]
            continue
        tried = checkpoints.read(seed, partial(training.load_untrained, start.folder))
        num_tried = num_attempts + (0 if tried is None else len(tried.attempts))
        steps.go_on_from((number + 1) * training.num_text_steps + num_tried * training.num_steps)
        selection = select_finetuning(
            partial(training.finetune, start.folder, seed),
            learning_rates,
            dev,
            selection=tried,
            keep=partial(checkpoints.write, seed),
        )
        attempts = [AttemptFacts(**asdict(attempt)) for attempt in selection.attempts]
        num_attempts += len(attempts)
        kept = selection.model
        if kept is None:
            outcome.dropped[str(seed)] = attempts
            continue
        folder = _choose_model_folder(config, seed, is_first=not outcome.predictions)
        outcome.predictions[seed] = context.group.share(
            partial(_keep, kept.model, training, None if folder is None else context.out / folder)
        )
        outcome.seeds[str(seed)] = SeedFacts(
            best_epoch=kept.best_epoch,
            dev=kept.dev_scores,
            num_trained=kept.num_trained,
            learning_rate=selection.kept.learning_rate,
            attempts=attempts,
            dev_after_text=start.dev_score,
            fitting_tokens=take_fewest(start.fitting_tokens, kept.fitting_tokens),
        )
        learning_rates = [selection.kept.learning_rate]
    if not outcome.predictions:
        lowest = min(learning_rates) * LOWER**MOST_REPEATS
        raise HarnessError(
            f"score: {training.data.task.name}: expected a finite loss with one of the seeds; got none, down "
            f"to a learning rate of {lowest:g}; lower the scale's score.learning_rate"
        )
    return outcome


def _keep(model: nn.Module, training: TaskTraining, folder: Path | None) -> Labels:
    """Save a model where it is kept, and return its labels of the test part."""
    if folder is not None:
        checkpoint.save_checkpoint(model, training.tokenizer, folder)
    return predict_test(model, training.tokenizer, training.data, training.protocol)


def _choose_model_folder(config: Mapping[str, Any], seed: int, *, is_first: bool) -> str | None:
    """Return where a seed's model is kept, relative to the stage's folder; None if it is not."""
    if is_first:
        return "model" if config["keep_model"] else None
    return f"{OTHER_MODELS}/{seed}" if config.get("keep_all_seeds") else None


def _read_lines(context: Context, distillation: TaskDistillation) -> list[str]:
    """Return the lines that the teachers label: evenly spread over the corpus's training part."""
    if distillation.text_lines is None:
        return []
    train = corpus.StoredPart(context.inputs["corpus"], "train")
    num_lines = sum(map(len, train))
    count = min(distillation.text_lines, num_lines)
    chosen = {number * num_lines // count for number in range(count)}
    return [line for number, line in enumerate(chain.from_iterable(train)) if number in chosen]


def _read_text_protocol(context: Context, protocol: Protocol) -> Protocol:
    """Return how a student is trained on text that its teachers labelled."""
    return replace(protocol, **context.config.get("text", {}), evaluate_every=None, patience=None)


def _describe_text(training: TaskTraining) -> LabelledTextFacts | None:
    """Return how much text the model learned from before the task's own examples."""
    if training.text is None:
        return None
    rows = training.text.rows
    tokens = sum(len(row["input_ids"]) for row in rows.rows)
    return LabelledTextFacts(
        lines=training.text.num_lines,
        tokens=tokens,
        epochs=training.text.protocol.epochs,
        learning_rate=training.text.protocol.learning_rate,
    )


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
    folder = context.inputs["teacher"]
    others = sorted((folder / OTHER_MODELS).glob("*")) if step.teachers == "all" else []
    return TaskDistillation(
        (folder / "model", *others),
        step.loss,
        step.temperature,
        step.layers or "uniform",
        step.kept_layers,
        step.text,
    )
