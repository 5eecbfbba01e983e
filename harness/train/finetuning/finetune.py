"""Fine-tune an encoder on a task, whole or by adapters: a linear head, the epoch that is best on dev.

Shapes: **B** batch, **L** length, **C** classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)

from harness.data.examples import TaskData
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import open_model_folder
from harness.models.loading.stock import load_stock_model
from harness.ops.pool import memory_pool, refuse_overfull_memory
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.train.finetuning.adapters import add_adapters, add_lora, count_trained, merge_lora
from harness.train.finetuning.distillation import (
    TaskDistillation,
    TaskDistillationTrainer,
    copy_layers,
)
from harness.train.finetuning.encoding import EncodedExamples, encode_examples, pad_rows
from harness.train.finetuning.prediction import Labels, predict_labels
from harness.train.finetuning.protocol import Protocol
from harness.train.finetuning.sparse import SparseUpdate, choose_most_moved, copy_encoder_weights
from harness.train.finetuning.used_rows import train_used_rows
from harness.train.fitting import take_fewest
from harness.train.trainer import FiniteTrainer, OneDeviceArguments, fastest_attention, override_dropout


@dataclass(frozen=True)
class FinetunedModel:
    """A fine-tuned model and its predictions on the dev part.

    Attributes:
        model: with its task head and its labels in the config; a stock class, unless it has adapters.
        dev_predictions: labels of the dev part.
        dev_scores: first metric on dev after each epoch, or after every few.
        best_epoch: counted from 1; the weights are those at its end. 0: those of the start.
        num_trained: number of trained parameters.
        fitting_tokens: as of `harness.train.fitting.FittingTrainer`.
    """

    model: nn.Module
    dev_predictions: Labels
    dev_scores: list[float]
    best_epoch: int
    num_trained: int
    fitting_tokens: int | None = None

    @property
    def best_score(self) -> float:
        """The highest score on dev."""
        return max(self.dev_scores)


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
    train: EncodedExamples | None = None,
    keep_start: bool = False,
    group: ProcessGroup = ALONE,
    callbacks: Sequence[TrainerCallback] = (),
) -> FinetunedModel:
    """Fine-tune a copy of an encoder on a task.

    Invariants: equal arguments give equal weights on one machine; the test part is not read.

    Args:
        checkpoint: folder of an MLM model, of which the encoder is taken and a new head drawn from ``seed``;
            or of a model with a head for the task.
        tokenizer: the model's.
        data: the task.
        protocol: how the model is fine-tuned.
        seed: seed of head, order and dropout.
        score: computes the first metric of predictions on the dev part.
        folder: temporary folder of the trainer.
        distillation: the losses that compare with a teacher; None learns from the labels alone.
        train: what to learn from in place of the training part, with the teachers' logits where the
            distillation stores them (`harness.train.finetuning.teacher_logits`).
        keep_start: whether the weights of the start, of a model with a head, may be the best on dev.
        group: the processes that train together; the main process alone predicts dev.
        callbacks: of every training; ``sft`` has two.

    Raises:
        DivergedError: the loss was infinite or not a number.
    """
    set_seed(seed)
    model = load_task_model(checkpoint, data)
    trainer_class = FiniteTrainer if distillation is None else _distilling_trainer(distillation, model, data)
    model = apply_method(model, protocol)
    trained = count_trained(model)
    typed = count_token_types(model.config) > 1
    dev = encode_examples(data.dev, data, tokenizer, protocol.max_length, typed=typed)
    if train is None:
        train = encode_examples(data.train, data, tokenizer, protocol.max_length, typed=typed)
    best = _BestEpoch(
        lambda: group.share(lambda: predict_labels(model, dev, data, protocol.batch_size)),
        score,
        protocol,
        keep_start=keep_start,
    )
    used_rows = train_used_rows(model, (train, dev)) if protocol.method == "full" else None

    arguments = _make_arguments(folder, protocol, seed)
    fit = partial(_fit, trainer_class, model, train, *callbacks, arguments=arguments, group=group)
    with (
        memory_pool(),
        refuse_overfull_memory(),
        override_dropout(model, protocol.dropout),
        fastest_attention(model, protocol.precision),
    ):
        if protocol.method == "sft":
            update = _choose_update(model, fit, protocol.density)
            trained += update.num_chosen - update.num_weights
            fitting_tokens = fit(update, best)
        else:
            fitting_tokens = fit(best, *([used_rows] if used_rows is not None else []))
    model.__dict__.pop("forward", None)  # the autocast that the library leaves around it
    model.to("cpu").load_state_dict(best.weights)
    if used_rows is not None:
        used_rows.put_back(model)
    group.share(lambda: shutil.rmtree(folder, ignore_errors=True))
    if protocol.method == "lora":
        model = merge_lora(model)
    return FinetunedModel(model.eval(), best.predictions, best.scores, best.epoch, trained, fitting_tokens)


def predict_test(model: nn.Module, tokenizer: Any, data: TaskData, protocol: Protocol) -> Labels:
    """Return a fine-tuned model's labels of the test part."""
    typed = count_token_types(model.config) > 1
    test = encode_examples(data.test, data, tokenizer, protocol.max_length, typed=typed)
    return predict_labels(model, test, data, protocol.batch_size)


def _fit(
    trainer_class: Callable[..., Any],
    model: Any,
    train: EncodedExamples,
    *callbacks: TrainerCallback,
    arguments: OneDeviceArguments,
    group: ProcessGroup,
) -> int | None:
    """Train a model from its present weights; return the trainer's ``fitting_tokens``."""
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=train.rows,
        data_collator=lambda rows: pad_rows(rows, train.pad_id),
        callbacks=[*callbacks],
        group=group,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return take_fewest(*group.gather(trainer.fitting_tokens))


def _choose_update(model: Any, fit: Callable[[], Any], density: float) -> SparseUpdate:
    """Train every weight and return the update of those that moved most; the model itself is put back."""
    before = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    start = copy_encoder_weights(model)
    fit()
    update = SparseUpdate(start, choose_most_moved(start, copy_encoder_weights(model), density))
    model.load_state_dict(before)
    return update


def _distilling_trainer(distillation: TaskDistillation, model: Any, data: TaskData) -> Callable[..., Any]:
    """Return the trainer for task distillation; copy the teacher's layers into the model if it asks."""
    if distillation.stores_logits:
        return partial(TaskDistillationTrainer, distillation=distillation)
    teacher = load_task_model(distillation.teachers[0], data)
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
    head = {
        "id2label": dict(enumerate(data.labels)),
        "label2id": {label: index for index, label in enumerate(data.labels)},
    }
    advice = f"take data with the {len(data.labels)} labels of the model's head, or an encoder without a head"
    return load_stock_model(
        open_model_folder(checkpoint), stock, head=head, new_head=True, head_advice=advice
    ).model


def load_untrained(checkpoint: Path, data: TaskData, protocol: Protocol) -> Any:
    """Return a model with the parameters of one that `finetune` returns, before any training."""
    model = load_task_model(checkpoint, data)
    return add_adapters(model, protocol.reduction) if protocol.method == "adapter" else model


class _BestEpoch(TrainerCallback):  # type: ignore[misc]
    """Score dev after each epoch, or every few, and keep the best epoch (the first of equals).

    End the training when the best epoch is ``patience`` epochs ago. With ``keep_start`` the weights of the
    start are epoch 0.
    """

    def __init__(
        self,
        predict: Callable[[], Labels],
        score: Callable[[Labels], float],
        protocol: Protocol,
        *,
        keep_start: bool,
    ) -> None:
        self.predict = predict
        self.score = score
        self.protocol = protocol
        self.keep_start = keep_start
        self.finished = 0
        self.scores: list[float] = []
        self.epoch = 0
        self.predictions: Labels = []
        self.weights: dict[str, Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        if self.keep_start:
            self._score_dev(model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:  # noqa: ARG002
        self.finished += 1
        if self.finished % (self.protocol.evaluate_every or 1) and self.finished < self.protocol.epochs:
            return control
        self._score_dev(model)
        patience = self.protocol.patience
        if patience is not None and self.finished - self.epoch >= patience:
            control.should_training_stop = True
        return control

    def _score_dev(self, model: Any) -> None:
        predictions = self.predict()
        score = self.score(predictions)
        if not self.scores or score > max(self.scores):
            self.epoch, self.predictions = self.finished, predictions
            self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        self.scores.append(score)
        model.train()


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
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
