"""Fine-tune an encoder on a task, whole or by adapters: a linear head, the epoch that is best on dev.

Shapes: **B** batch, **L** length, **C** classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    set_seed,
)

from harness.data.examples import TaskData
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import quiet
from harness.train.finetuning.adapters import add_adapters, add_lora, count_trained, merge_lora
from harness.train.finetuning.distillation import (
    TaskDistillation,
    TaskDistillationTrainer,
    copy_layers,
)
from harness.train.finetuning.encoding import EncodedExamples, encode_examples, pad_rows
from harness.train.finetuning.sparse import SparseUpdate, choose_most_moved, copy_encoder_weights
from harness.train.trainer import (
    OneDeviceArguments,
    fastest_attention,
    override_dropout,
    without_autocast,
)

Labels = list[str] | list[list[str]]
"""A label for each text, or for each word of each sentence, in the order of the examples."""


@dataclass(frozen=True)
class Protocol:
    """How a model is fine-tuned; equal for all models that are compared.

    Attributes:
        epochs: passes over the training part.
        learning_rate: peak rate; linear rise and fall.
        batch_size: examples of one optimiser step.
        warmup_fraction: share of the steps with a rising rate.
        weight_decay: decoupled.
        max_length: tokens of the longest input; a longer sentence of a token task is cut at words.
        precision: ``fp32`` or ``bf16`` (autocast) of training; predictions are computed in fp32.
        dropout: replaces the model's dropout while it is fine-tuned; ``None`` leaves it.
        patience: epochs without a better score on dev after which training ends; ``None`` runs all epochs.
        method: ``full`` trains every weight; ``adapter`` and ``lora`` train the head and their own weights;
            ``sft`` trains every weight, then starts again with the head and the weights that moved most.
        reduction: how many times narrower than the encoder an adapter is.
        rank: rank of LoRA's products.
        density: share of the encoder's weights that ``sft`` trains in the end.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    warmup_fraction: float
    weight_decay: float
    max_length: int
    precision: Literal["fp32", "bf16"]
    dropout: float | None = None
    patience: int | None = None
    method: Literal["full", "adapter", "lora", "sft"] = "full"
    reduction: int = 16
    rank: int = 8
    density: float = 0.08

    @property
    def settings(self) -> dict[str, Any]:
        """Settings besides the method that decide the outcome; settings of other methods are left out."""
        own = {"adapter": "reduction", "lora": "rank", "sft": "density"}
        others = [setting for method, setting in own.items() if method != self.method]
        return {name: value for name, value in vars(self).items() if name not in ("method", *others)}


def limit_epochs(epochs: int, max_examples: int | None, num_train: int) -> int:
    """Return the number of whole epochs, at least 1, that train on no more than a number of examples.

    Args:
        epochs: the most epochs.
        max_examples: the most examples over all epochs; ``None`` sets no bound.
        num_train: examples of the training part.
    """
    if max_examples is None:
        return epochs
    return min(epochs, max(1, max_examples // max(1, num_train)))


@dataclass(frozen=True)
class FinetunedModel:
    """A fine-tuned model and its predictions on the test part.

    Attributes:
        model: with its task head and its labels in the config; a stock class, unless it has adapters.
        predictions: labels of the test part.
        dev_scores: first metric on dev after each epoch.
        best_epoch: counted from 1; the weights are those at its end.
        num_trained: number of trained parameters.
    """

    model: nn.Module
    predictions: Labels
    dev_scores: list[float]
    best_epoch: int
    num_trained: int


def finetune(
    checkpoint: Path,
    tokenizer: Any,
    data: TaskData,
    *,
    protocol: Protocol,
    seed: int,
    score: Callable[[Labels], float],
    folder: Path,
    distillation: TaskDistillation | None = None,
) -> FinetunedModel:
    """Fine-tune a copy of an encoder on a task.

    Invariants: equal arguments give equal predictions on one machine; the test part is read once, after the
    best epoch has been chosen on dev.

    Args:
        checkpoint: folder of an MLM model; its encoder is taken, a new head is drawn from ``seed``.
        tokenizer: the model's.
        data: the task.
        protocol: how the model is fine-tuned.
        seed: seed of head, order and dropout.
        score: computes the first metric of predictions on the dev part.
        folder: temporary folder of the trainer.
        distillation: the losses that compare with a teacher; None learns from the labels alone.
    """
    set_seed(seed)
    model = load_task_model(checkpoint, data)
    encode = partial(
        encode_examples,
        data=data,
        tokenizer=tokenizer,
        max_length=protocol.max_length,
        typed=count_token_types(model) > 1,
    )
    trainer_class = Trainer if distillation is None else _distilling_trainer(distillation, model, data)
    model = apply_method(model, protocol)
    trained = count_trained(model)
    train, dev = encode(data.train), encode(data.dev)
    best = _BestEpoch(lambda: score(predict_labels(model, dev, data, protocol.batch_size)), protocol.patience)

    fit = partial(_fit, trainer_class, model, train, arguments=_make_arguments(folder, protocol, seed))
    with override_dropout(model, protocol.dropout), fastest_attention(model, protocol.precision):
        if protocol.method == "sft":
            update = _choose_update(model, fit, protocol.density)
            trained += update.num_chosen - update.num_weights
            fit(update, best)
        else:
            fit(best)
    model.__dict__.pop("forward", None)  # the autocast that the library leaves around it
    model.to("cpu").load_state_dict(best.weights)
    shutil.rmtree(folder, ignore_errors=True)
    test = encode(data.test)
    if protocol.method == "lora":
        model = merge_lora(model)
    predictions = predict_labels(model.eval(), test, data, protocol.batch_size)
    return FinetunedModel(model, predictions, best.scores, best.epoch, trained)


def _fit(
    trainer_class: Callable[..., Any],
    model: Any,
    train: EncodedExamples,
    *callbacks: TrainerCallback,
    arguments: OneDeviceArguments,
) -> None:
    """Train a model from its present weights."""
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=train.rows,
        data_collator=lambda rows: pad_rows(rows, train.pad_id),
        callbacks=[*callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def _choose_update(model: Any, fit: Callable[[], None], density: float) -> SparseUpdate:
    """Train every weight and return the update of those that moved most; the model itself is put back."""
    before = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    start = copy_encoder_weights(model)
    fit()
    update = SparseUpdate(start, choose_most_moved(start, copy_encoder_weights(model), density))
    model.load_state_dict(before)
    return update


def _distilling_trainer(distillation: TaskDistillation, model: Any, data: TaskData) -> Callable[..., Any]:
    """Return the trainer for task distillation; copy the teacher's layers into the model if it asks."""
    teacher = load_task_model(distillation.teacher, data)
    if distillation.kept_layers is not None:
        copy_layers(model, teacher, distillation.kept_layers)
    return partial(TaskDistillationTrainer, distillation=distillation, teacher=teacher)


def apply_method(model: Any, protocol: Protocol) -> Any:
    """Add to a task model the parameters of the protocol's method, and freeze those it does not train."""
    if protocol.method == "adapter":
        return add_adapters(model, protocol.reduction)
    return add_lora(model, protocol.rank) if protocol.method == "lora" else model


def load_task_model(checkpoint: Path, data: TaskData) -> Any:
    """Load the stock class with a linear head for the task's labels, new unless the folder has a head."""
    stock = (
        AutoModelForTokenClassification if data.task.kind == "token" else AutoModelForSequenceClassification
    )
    with quiet():
        return stock.from_pretrained(
            checkpoint,
            id2label=dict(enumerate(data.labels)),
            label2id={label: index for index, label in enumerate(data.labels)},
            use_safetensors=True,
            dtype=torch.float32,
        )


@torch.no_grad()
def predict_labels(model: nn.Module, encoded: EncodedExamples, data: TaskData, batch_size: int) -> Labels:
    """Return the labels of the largest logits, in the order of the examples; every word gets a label.

    Invariants: computed in the precision of the weights, also while the model is trained in another.
    """
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(encoded.rows)), key=lambda row: -len(encoded.rows[row]["input_ids"]))
    chosen: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_size * 4):
        rows = order[start : start + batch_size * 4]
        batch = pad_rows([encoded.rows[row] for row in rows], encoded.pad_id)
        labels = batch.pop("labels")
        with without_autocast(model):
            logits = model(**{name: value.to(device) for name, value in batch.items()}).logits
        best = logits.argmax(-1).cpu()
        for row, best_L, labels_L in zip(rows, best, labels, strict=True):
            chosen[row] = _select_labelled(best_L, labels_L)
    return _join_windows(chosen, encoded, data)


def _select_labelled(best_L: Tensor, labels_L: Tensor) -> list[int]:
    """Return the class of a text, or of the first sub-word of each word."""
    if best_L.dim() == 0:
        return [int(best_L)]
    classes: list[int] = best_L[: len(labels_L)][labels_L != -100].tolist()
    return classes


def _join_windows(chosen: dict[int, list[int]], encoded: EncodedExamples, data: TaskData) -> Labels:
    """Join the windows of each example."""
    joined: list[list[str]] = [[] for _ in range(encoded.num_examples)]
    for row, example in enumerate(encoded.owners):
        joined[example].extend(data.labels[index] for index in chosen[row])
    if data.task.kind == "token":
        return joined
    return [labels[0] for labels in joined]


class _BestEpoch(TrainerCallback):  # type: ignore[misc]
    """Score dev after each epoch and keep the weights of the best epoch (the first of equals).

    End the training when the best epoch is ``patience`` epochs ago.
    """

    def __init__(self, score: Callable[[], float], patience: int | None) -> None:
        self.score = score
        self.patience = patience
        self.scores: list[float] = []
        self.epoch = 0
        self.weights: dict[str, Tensor] = {}

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:  # noqa: ARG002
        self.scores.append(self.score())
        if self.epoch == 0 or self.scores[-1] > self.scores[self.epoch - 1]:
            self.epoch = len(self.scores)
            self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        model.train()
        if self.patience is not None and len(self.scores) - self.epoch >= self.patience:
            control.should_training_stop = True
        return control


def _make_arguments(folder: Path, protocol: Protocol, seed: int) -> OneDeviceArguments:
    return OneDeviceArguments(
        output_dir=str(folder),
        num_train_epochs=protocol.epochs,
        per_device_train_batch_size=protocol.batch_size,
        learning_rate=protocol.learning_rate,
        warmup_steps=protocol.warmup_fraction,
        weight_decay=protocol.weight_decay,
        lr_scheduler_type="linear",
        bf16=protocol.precision == "bf16",
        optim="adamw_torch_fused",
        seed=seed,
        data_seed=seed,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
