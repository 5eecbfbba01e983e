"""Predict the labels of a task's examples with a fine-tuned model.

Shapes: **L** length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.data.batches import IGNORED
from harness.data.examples import TaskData
from harness.train.finetuning.encoding import EncodedExamples, pad_rows
from harness.train.trainer import without_autocast

Labels = list[str] | list[list[str]]
"""A label for each text, or for each word of each sentence, in the order of the examples."""


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
    classes: list[int] = best_L[: len(labels_L)][labels_L != IGNORED].tolist()
    return classes


def _join_windows(chosen: dict[int, list[int]], encoded: EncodedExamples, data: TaskData) -> Labels:
    """Join the windows of each example."""
    joined: list[list[str]] = [[] for _ in range(encoded.num_examples)]
    for row, example in enumerate(encoded.owners):
        joined[example].extend(data.labels[index] for index in chosen[row])
    if data.task.kind == "token":
        return joined
    return [labels[0] for labels in joined]
