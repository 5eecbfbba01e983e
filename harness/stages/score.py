"""Fine-tune a model on one task with several seeds, and score the test part once for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.tune import ResolvedTune
from harness.data.examples import gold_labels
from harness.measure.scores import score
from harness.measure.signature import format_protocol
from harness.models.loading import checkpoint
from harness.models.loading.encoder import load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.stages.io.artifacts import choose_precision, find_model_folder, read_task
from harness.stages.io.facts import FinetunedScoresFacts, FinetuningFacts, SeedFacts
from harness.stages.io.scores import name_model, write_scores
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.finetune import Protocol, finetune, limit_epochs

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> FinetuningFacts:
    """Write ``scores.json``, ``predictions.json.gz`` (per seed and item) and the first seed's ``model``."""
    config = context.config
    data = read_task(context, config["task"])
    source = find_model_folder(context)
    tokenizer = load_task_tokenizer(open_model_folder(source))
    protocol = _read_protocol(context, len(data.train))
    distillation = _read_distillation(context)
    settings = protocol.settings | ({"lesson": str(distillation)} if distillation else {})
    gold_dev = gold_labels(data, "dev")
    predictions, seeds = {}, {}
    for done, seed in enumerate(config["seeds"]):
        context.progress(done, len(config["seeds"]), "seeds", {})
        tuned = finetune(
            source,
            tokenizer,
            data,
            protocol=protocol,
            seed=seed,
            score=lambda labels: score(data.task.metrics[0], gold_dev, labels),
            folder=context.out / "scratch",
            distillation=distillation,
        )
        predictions[seed] = tuned.predictions
        seeds[str(seed)] = SeedFacts(
            best_epoch=tuned.best_epoch, dev=tuned.dev_scores, num_trained=tuned.num_trained
        )
        if done == 0 and config["keep_model"]:
            checkpoint.save_checkpoint(tuned.model, tokenizer, context.out / "model")
    scores = write_scores(
        context,
        data,
        predictions,
        protocol=format_protocol(protocol.method, settings),
        model=name_model(source),
        packages=("torch", "transformers", "tokenizers", *(["peft"] if protocol.method == "lora" else [])),
        facts=FinetunedScoresFacts,
        seeds=seeds,
    )
    return FinetuningFacts(scores=scores)


def _read_protocol(context: Context, num_examples: int) -> Protocol:
    settings = dict(context.config["protocol"])
    settings["precision"] = choose_precision(settings["precision"])
    settings["epochs"] = limit_epochs(settings["epochs"], settings.pop("max_examples", None), num_examples)
    return Protocol(**settings)


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
