"""Halve a batch that does not fit into the memory; an optimiser step keeps its batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from harness.data.batches import IGNORED
from harness.errors import is_out_of_memory
from harness.train.finetuning.encoding import TEACHER_LOGITS


def take_fewest(*tokens: int | None) -> int | None:
    """Return the least ``fitting_tokens`` of several trainings; None where all batches fitted."""
    return min((one for one in tokens if one is not None), default=None)


def split_rows(batch: Mapping[str, Tensor], max_tokens: int) -> Iterator[dict[str, Tensor]]:
    """Split a batch into parts of as many whole rows as have ``max_tokens`` padded tokens, one at least."""
    rows = max(1, max_tokens // batch["input_ids"].shape[1])
    parts = {name: torch.split(value, rows) for name, value in batch.items() if name != TEACHER_LOGITS}
    if TEACHER_LOGITS in batch:  # a row for each label, and not for each row
        counts = [int((labels != IGNORED).sum()) for labels in parts["labels"]]
        parts[TEACHER_LOGITS] = torch.split(batch[TEACHER_LOGITS], counts)
    for values in zip(*parts.values(), strict=True):
        yield dict(zip(parts, values, strict=True))


def count_labels(batch: Mapping[str, Tensor]) -> int:
    """Count the texts or tokens of a batch that have a label."""
    return int((batch["labels"] != IGNORED).sum())


def count_attended(batch: Mapping[str, Tensor]) -> int:
    """Count the tokens of a batch that are no padding."""
    return int(batch["attention_mask"].sum())


class FittingTrainer(Trainer):  # type: ignore[misc]
    """A trainer that halves a batch that does not fit into the memory, and those that are as large after it.

    The gradients of an optimiser step whose batch does not fit are computed again in smaller parts, each
    weighed by its share of the positions of the loss: the step is the one that was planned (nearly, where a
    sum of losses looks at labels and at all tokens).

    Attributes:
        fitting_tokens: the padded tokens that go through the model at once since a batch did not fit; None:
            every batch fitted.
        count_positions: counts the positions of the loss of a batch.
    """

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.fitting_tokens: int | None = None
        self.count_positions: Callable[[Mapping[str, Tensor]], int] = count_labels
        self._weight = 1.0
        self._step = -1
        self._batches: list[dict[str, Tensor]] = []

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *rest: Any) -> Tensor:
        """Add the gradients of a batch, and return its loss.

        Raises:
            RuntimeError: not even one row fits.
        """
        if self._step != self.state.global_step:
            self._step, self._batches = self.state.global_step, []
        self._batches.append(inputs)
        todo = [inputs]
        while True:
            try:
                return [self._add_gradients(model, batch, rest) for batch in todo][-1]
            except RuntimeError as error:
                if not is_out_of_memory(error) or not self._halve(inputs):
                    raise
            model.zero_grad(set_to_none=True)
            gc.collect()
            torch.cuda.empty_cache()
            todo = list(self._batches)

    def _halve(self, inputs: Mapping[str, Tensor]) -> bool:
        """Halve what goes through the model at once; return whether the batch can be split so."""
        rows, length = inputs["input_ids"].shape
        before = min(rows * length, self.fitting_tokens or rows * length)
        self.fitting_tokens = before // 2
        return before >= 2 * length

    def _add_gradients(self, model: nn.Module, batch: dict[str, Tensor], rest: tuple[Any, ...]) -> Tensor:
        if self.fitting_tokens is None:
            loss: Tensor = super().training_step(model, batch, *rest)
            return loss
        total = max(1, self.count_positions(batch))
        losses = []
        for part in split_rows(batch, self.fitting_tokens):
            self._weight = self.count_positions(part) / total
            losses.append(super().training_step(model, part))
        self._weight = 1.0
        return torch.stack(losses).sum()

    def weigh(self, loss: Tensor) -> Tensor:
        """Return the loss of a part of a batch, weighed by its share of the batch."""
        return loss if self._weight == 1.0 else loss * self._weight
