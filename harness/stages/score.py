"""Fine-tunes a model on one task with several seeds, and scores the test part once for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.examples import gold_labels
from harness.measure.scores import score
from harness.measure.signature import protocol_text
from harness.models.loading import checkpoint
from harness.models.loading.encoder import load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.stages.io.artifacts import model_folder, precision, read_task
from harness.stages.io.scores import model_name, record_scores
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.finetune import Protocol, epochs_within, finetune

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``scores.json``, ``predictions.json.gz`` (per seed and item) and the first seed's ``model``."""
    config = context.config
    data = read_task(context, config["task"])
    source = model_folder(context)
    tokenizer = load_task_tokenizer(open_model_folder(source))
    asked = {**config["protocol"], "precision": precision(config["protocol"]["precision"])}
    asked["epochs"] = epochs_within(asked["epochs"], asked.pop("max_examples", None), len(data.train))
    protocol = Protocol(**asked)
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
        seeds[str(seed)] = {
            "best_epoch": tuned.best_epoch,
            "dev": tuned.dev_scores,
            "num_trained": tuned.num_trained,
        }
        if done == 0 and config["keep_model"]:
            checkpoint.save_checkpoint(tuned.model, tokenizer, context.out / "model")
    record_scores(
        context,
        data,
        predictions,
        protocol=protocol_text(protocol.method, settings),
        model=model_name(source),
        packages=("torch", "transformers", "tokenizers", *(["peft"] if protocol.method == "lora" else [])),
        more={"seeds": seeds},
    )


def _read_distillation(context: Context) -> TaskDistillation | None:
    """Return the task distillation that the recipe's tune step asks for, if any."""
    told = context.config.get("lesson")
    if told is None:
        return None
    kept = told.get("kept_layers")
    return TaskDistillation(
        context.inputs["teacher"] / "model",
        told["loss"],
        told.get("temperature"),
        told.get("layers", "uniform"),
        None if kept is None else tuple(kept),
    )
