"""Parts of a batch: some of its rows, and the share of the batch's losses that they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from harness.config.losses import Loss
from harness.data.batches import IGNORED
from harness.train.finetuning.encoding import TEACHER_LOGITS

Counts: TypeAlias = Mapping[str, int]
"""How many labels, attended positions, rows, and pairs of attended positions a batch has."""


@dataclass(frozen=True)
class BatchPart:
    """What the losses of a part of a batch need to know of the whole batch.

    Attributes:
        shares: for each count, the part's share of the whole batch's.
        means: the teacher's mean vector over the whole batch, for each loss that subtracts one.
    """

    shares: Mapping[str, float]
    means: Mapping[str, Tensor] = field(default_factory=dict)


def split_rows(batch: Mapping[str, Tensor], max_tokens: int) -> Iterator[dict[str, Tensor]]:
    """Split a batch into parts of as many whole rows as have ``max_tokens`` padded tokens, one at least."""
    rows, length = batch["input_ids"].shape
    size = max(1, max_tokens // length)
    yield from _split(batch, [min(size, rows - start) for start in range(0, rows, size)])


def take_rows(batch: dict[str, Tensor], rank: int, size: int) -> dict[str, Tensor]:
    """Return the rows of one of several processes: consecutive rows, as many as another takes or one more."""
    if size == 1:
        return batch
    rows = len(batch["input_ids"])
    ends = [rows * (one + 1) // size for one in range(size)]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return list(_split(batch, sizes))[rank]


def _split(batch: Mapping[str, Tensor], sizes: list[int]) -> Iterator[dict[str, Tensor]]:
    parts = {name: torch.split(value, sizes) for name, value in batch.items() if name != TEACHER_LOGITS}
    if TEACHER_LOGITS in batch:  # a row for each label, and not for each row
        counts = [int((labels != IGNORED).sum()) for labels in parts["labels"]]
        parts[TEACHER_LOGITS] = torch.split(batch[TEACHER_LOGITS], counts)
    for values in zip(*parts.values(), strict=True):
        yield dict(zip(parts, values, strict=True))


def count_units(batch: Mapping[str, Tensor]) -> Counts:
    """Count what the losses of a batch are means over; its spans are the positions where there are any."""
    aligned = "spans" in batch
    lengths_B = batch["spans"].amax(1) + 1 if aligned else batch["attention_mask"].sum(1)
    return {
        "labels": int((batch["labels"] != IGNORED).sum()),
        "attended": int(lengths_B.sum()),
        "rows": len(lengths_B),
        "pairs": int((lengths_B**2).sum()),
    }


def compute_part_shares(batch: Mapping[str, Tensor], whole: Counts) -> dict[str, float]:
    """Return a part's share of each count of the whole batch."""
    return {name: count / max(1, whole[name]) for name, count in count_units(batch).items()}


def weigh(loss: Tensor, row: Loss, part: BatchPart | None, compared: str = "labels") -> Tensor:
    """Return a loss of a part such that the losses of all parts add up to the whole batch's.

    Args:
        loss: a mean over the part.
        row: of the loss's table.
        part: what is computed; None: the whole batch.
        compared: whether logits are compared at ``labels`` or at ``attended`` positions.
    """
    if part is None:
        return loss
    return loss * part.shares[compared if row.mean_over == "compared" else row.mean_over]
