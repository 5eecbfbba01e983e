"""The masked batches of a training step: item ``i`` depends on corpus, seed and ``i`` alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from harness.data.aligned_rows import NO_SPAN, AlignedRows
from harness.data.batches import (
    IGNORED,
    Batches,
    Packed,
    bucket_batches,
    collate,
    mask,
    special_positions,
)
from harness.errors import HarnessError
from harness.train.language_model.budget import Budget

_COUNTED_IDS = 1 << 22
_MASK_STREAM = 0x6D61736B  # separates the random numbers of the masks from those of the order


class MaskedBatches(Dataset[dict[str, Tensor]]):
    """The masked batches of a budget of tokens, from as many passes over the corpus as needed.

    Invariants: item ``i`` does not depend on the items read before; the attended tokens of all items are at
    least the budget's and exceed it by less than one optimiser step.

    Args:
        packed: rows of token ids.
        tokenizer: of the model that is trained.
        budget: tokens, batch sizes, mask fraction, seed.

    Raises:
        HarnessError: the corpus has no row.
    """

    def __init__(self, packed: Packed, tokenizer: Any, budget: Budget) -> None:
        if len(packed) == 0:
            raise HarnessError("training: expected a corpus with text; got none; look at its files")
        self.packed = packed
        self.budget = budget
        self.special_ids = sorted(set(tokenizer.all_special_ids))
        self.mask_id = int(tokenizer.mask_token_id)
        self.pad_id = int(tokenizer.pad_token_id)
        self.vocabulary = len(tokenizer)
        self.weight_V = self._smooth_counts() if budget.mask_smoothing is not None else None
        self._starts, self._tokens = self._plan_passes()

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``input_ids``, ``attention_mask`` and ``labels`` (−100 where nothing is masked), B × L."""
        batch = collate([self.packed[row] for row in self.list_rows(index)], self.pad_id)
        generator = torch.Generator().manual_seed(hash_seed(self.budget.seed, _MASK_STREAM, index))
        ids_BL = batch["input_ids"]
        batch["input_ids"], batch["labels"] = mask(
            ids_BL,
            special_positions(ids_BL, self.special_ids),
            mask_id=self.mask_id,
            vocabulary=self.vocabulary,
            fraction=self.budget.mask_fraction,
            generator=generator,
            random_exclude=self.special_ids,
            weight_V=self.weight_V,
        )
        return batch

    def list_rows(self, index: int) -> list[int]:
        """Return the rows of the corpus that an item has."""
        epoch = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._batches(epoch)[index - int(self._starts[epoch])]

    def tokens_at(self, steps: int) -> int:
        """Count the attended tokens of the first ``steps`` optimiser steps."""
        done = min(steps * self.budget.accumulation, len(self._tokens))
        return int(self._tokens[done - 1]) if done else 0

    def _smooth_counts(self) -> Tensor:
        """Return count^−smoothing of each token (counted at least once)."""
        ids = self.packed.ids
        counts_V = np.zeros(self.vocabulary)
        for first in range(0, len(ids), _COUNTED_IDS):
            counts_V += np.bincount(ids[first : first + _COUNTED_IDS], minlength=self.vocabulary)
        return torch.from_numpy(np.maximum(counts_V, 1.0) ** -float(self.budget.mask_smoothing or 0.0))

    def _plan_passes(self) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
        """Return at which item each pass over the corpus starts, and the running sum of attended tokens."""
        starts, sums, total = [0], [], 0
        lengths = self.packed.lengths
        while total < self.budget.tokens:
            for rows in self._batches(len(starts) - 1):
                total += int(lengths[rows].sum())
                sums.append(total)
                if total >= self.budget.tokens and len(sums) % self.budget.accumulation == 0:
                    break
            starts.append(len(sums))
        return np.array(starts, np.int64), np.array(sums, np.int64)

    def _batches(self, epoch: int) -> Batches:
        return _list_batches(self, epoch)


class AlignedBatches(MaskedBatches):
    """The masked batches of a student, with the same text in the tokens of a teacher.

    The teacher's tokens of each span in which the student has a masked token are masked, all of them: it sees
    no more of these spans than their place.

    Args:
        aligned: rows of the same text.
        tokenizer: the student's.
        budget: as of `MaskedBatches`; its tokens are the student's.

    Raises:
        HarnessError: the corpus has no row.
    """

    def __init__(self, aligned: AlignedRows, tokenizer: Any, budget: Budget) -> None:
        super().__init__(aligned.student, tokenizer, budget)
        self.aligned = aligned

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the student's tensors, and the teacher's (B × T): ``spans`` are -1 at padding."""
        batch, rows = super().__getitem__(index), self.list_rows(index)
        spans_BL, teacher_spans_BT = (
            collate([packed[row] for row in rows], NO_SPAN)["input_ids"]
            for packed in (self.aligned.student_spans, self.aligned.teacher_spans)
        )
        teacher = collate([self.aligned.teacher[row] for row in rows], self.aligned.teacher_pad_id)
        masked_BT = find_masked_spans(spans_BL, batch["labels"] != IGNORED, teacher_spans_BT)
        return batch | {
            "spans": spans_BL,
            "teacher_input_ids": teacher["input_ids"].masked_fill(masked_BT, self.aligned.teacher_mask_id),
            "teacher_attention_mask": teacher["attention_mask"],
            "teacher_spans": teacher_spans_BT,
        }


def make_batches(packed: Packed | AlignedRows, tokenizer: Any, budget: Budget) -> MaskedBatches:
    """Return the masked batches of rows of one tokenizer, or of student and teacher."""
    if isinstance(packed, AlignedRows):
        return AlignedBatches(packed, tokenizer, budget)
    return MaskedBatches(packed, tokenizer, budget)


def find_masked_spans(spans_BL: Tensor, masked_BL: Tensor, other_spans_BT: Tensor) -> Tensor:
    """Return a boolean B × T: tokens of spans in which a token of the other tokenizer is masked."""
    # one more place takes the padding, whose span is -1
    touched_BW = torch.zeros(len(spans_BL), int(spans_BL.max()) + 2, dtype=torch.bool)
    touched_BW.scatter_(1, torch.where(masked_BL, spans_BL, NO_SPAN) + 1, True)
    touched_BW[:, 0] = False
    return touched_BW.gather(1, other_spans_BT + 1)


@lru_cache(maxsize=2)
def _list_batches(stream: MaskedBatches, epoch: int) -> Batches:
    budget = stream.budget
    return bucket_batches(stream.packed.lengths, budget.micro_tokens, budget.seed, epoch)


def hash_seed(*parts: int) -> int:
    """Return a 63-bit seed from several numbers; close numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
