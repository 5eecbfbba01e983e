"""The objective of a step over a corpus: a weighted sum of losses of `harness.config.losses`.

The vocabulary projections go through `harness.ops`, which never holds the logits of all positions.

Shapes: **B** batch, **L** length, **W** spans, **N** chosen positions, **T** hidden of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness import ops
from harness.config.losses import (
    DISTILL_LOSSES,
    LOSSES,
    LayerMap,
    LossSettings,
    find_missing_setting,
    find_unalignable,
)
from harness.data.batches import IGNORED
from harness.errors import HarnessError, unknown
from harness.models.families.mlm_head import split_mlm_head
from harness.models.hidden_states import capture_hidden_states
from harness.train.losses import attention, hidden_states, logits  # noqa: F401  their functions register
from harness.train.losses.compatibility import refuse_incompatible
from harness.train.losses.hidden_states import CENTRED
from harness.train.losses.inputs import FUNCTIONS, LossInputs, Outputs
from harness.train.losses.projection import find_projection
from harness.train.losses.span_states import Pooling, mark_spans, pool_spans
from harness.train.parts import BatchPart, weigh


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses.

    Attributes:
        weights: name of a loss → its weight, all greater than zero.
        positions: where logits are compared: at every attended position, or at the masked positions.
        temperature: τ of ``logit_kl``, whose loss is multiplied by τ² (Hinton et al. 2015), and ``logit_ce``.
        layers: which layers are compared where several are.
        projection: whether the student's hidden states go through a learned projection.
        relation_split: into how many relation heads each head of the teacher is split.
        align: how the states of a span's tokens become one state, where student and teacher read other
            tokens (`harness.data.aligned_rows`); None: they read the same tokens.
        only_layer: of the student's layers the one that is compared, counted from 1; None: all.
    """

    weights: Mapping[str, float]
    positions: Literal["attended", "masked"] = "masked"
    temperature: float | None = None
    layers: LayerMap = "uniform"
    projection: bool = False
    relation_split: int | None = None
    align: Pooling | None = None
    only_layer: int | None = None

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in DISTILL_LOSSES:
                raise unknown("loss", name, DISTILL_LOSSES)
        missing = find_missing_setting(self.weights, self.settings)
        missing = missing or (self.align and find_unalignable(self.weights))
        if missing:
            raise HarnessError(f"distill: {missing}")

    @property
    def settings(self) -> LossSettings:
        """The settings that some losses use."""
        return LossSettings(self.temperature, self.layers, self.projection, self.relation_split)

    @property
    def needs_teacher(self) -> bool:
        """Whether any of the losses compares with a teacher."""
        return not self.looks_at <= {"labels"}

    @property
    def looks_at(self) -> frozenset[str]:
        """What the losses are computed from, as in `harness.config.losses.Loss`."""
        return frozenset(LOSSES[name].looks_at for name in self.weights)


MLM = Objective({"mlm": 1.0})


def compute_teacher_gram(objective: Objective, teacher: nn.Module | None) -> ops.TeacherGram | None:
    """Return WᵀW (T × T) of a teacher's vocabulary projection where `total_loss` needs it at every step."""
    if teacher is None or "logit_mse" not in objective.weights:
        return None
    return ops.teacher_gram(split_mlm_head(teacher).weight_VD)


def total_loss(
    objective: Objective,
    student: nn.Module,
    teacher: nn.Module | None,
    batch: Mapping[str, Tensor],
    gram: ops.TeacherGram | None = None,
    *,
    part: BatchPart | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum, and each loss by name before weighting (detached).

    Invariants: padding does not enter; for a batch without any position of a loss's kind the loss is zero.

    Args:
        objective: the losses and their weights.
        student: an MLM model of a known family; gradients flow to it.
        teacher: the same, without dropout; ``None`` if no loss needs a teacher.
        batch: ``input_ids``, ``attention_mask``, ``labels`` (B × L; labels −100 where nothing is predicted);
            for an objective that aligns, also the other tensors of
            `harness.train.language_model.batches.AlignedBatches`.
        gram: what `compute_teacher_gram` returns; computed here if absent.
        part: the batch's place in a larger one; the sum is then the part's share. None: it is whole.

    Raises:
        HarnessError: a teacher is needed and missing, or a loss cannot compare the two models.
    """
    chosen_BL = _choose_positions(objective, batch)
    labels_N = batch["labels"][chosen_BL]
    masked_N = labels_N != IGNORED
    inputs = LossInputs(
        student=_run(
            objective, student, batch, chosen_BL, head=bool(objective.looks_at & {"labels", "logits"})
        ),
        teacher=_run_teacher(objective, student, teacher, batch, chosen_BL),
        labels_N=labels_N,
        mask_BL=_mark_positions(objective, batch),
        settings=objective.settings,
        compared_N=masked_N if objective.positions == "masked" else torch.ones_like(masked_N),
        projection_TD=find_projection(student),
        gram=gram,
        means={} if part is None else part.means,
        only_layer=objective.only_layer,
    )
    parts = {name: FUNCTIONS[name](inputs) for name in objective.weights}
    compared = "labels" if objective.positions == "masked" else "attended"
    terms = [
        weight * weigh(parts[name], LOSSES[name], part, compared)
        for name, weight in objective.weights.items()
    ]
    total = torch.stack(terms).sum()
    return total, {name: part.detach() for name, part in parts.items()}


@torch.no_grad()
def sum_teacher_vectors(
    objective: Objective, student: nn.Module, teacher: nn.Module, batch: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return, for each loss that subtracts a mean over the batch, the sum of the teacher's vectors (T).

    Args:
        objective: the losses; at least one of `CENTRED`.
        student: which the teacher is compared with.
        teacher: whose vectors are added up.
        batch: of `total_loss`, or a part of it.
    """
    outputs = _run_teacher(objective, student, teacher, batch, _choose_positions(objective, batch))
    assert outputs is not None
    mask_BL = _mark_positions(objective, batch)
    return {
        name: vectors(outputs, mask_BL).sum(0)
        for name, vectors in CENTRED.items()
        if name in objective.weights
    }


def _choose_positions(objective: Objective, batch: Mapping[str, Tensor]) -> Tensor:
    """Return a boolean B × L: every position that a loss of last states or logits looks at.

    Where spans are aligned, last states are those of spans, and only masked positions are looked at.
    """
    if objective.align is not None:
        return batch["labels"] != IGNORED
    logits_everywhere = objective.positions == "attended" and "logits" in objective.looks_at
    if logits_everywhere or "last_state" in objective.looks_at:
        return batch["attention_mask"].bool()
    return batch["labels"] != IGNORED


def _mark_positions(objective: Objective, batch: Mapping[str, Tensor]) -> Tensor:
    """Return a boolean B × L, true at attended positions; B × W, true at spans, where they are aligned."""
    return batch["attention_mask"].bool() if objective.align is None else mark_spans(batch["spans"])


def _run(
    objective: Objective, model: nn.Module, batch: Mapping[str, Tensor], chosen_BL: Tensor, *, head: bool
) -> Outputs:
    states = capture_hidden_states(
        model,
        batch,
        every_layer="states" in objective.looks_at,
        attention=bool(objective.looks_at & {"attention", "relations"}),
    )
    last_ND, parts = states.hidden_states[-1][chosen_BL], split_mlm_head(model)
    features_ND = parts.transform(last_ND) if head else None
    if objective.align is not None:
        states = pool_spans(states, batch["spans"], objective.align)
        last_ND = states.hidden_states[-1][mark_spans(batch["spans"])]
    return Outputs(states, last_ND, features_ND, parts)


def _run_teacher(
    objective: Objective,
    student: nn.Module,
    teacher: nn.Module | None,
    batch: Mapping[str, Tensor],
    chosen_BL: Tensor,
) -> Outputs | None:
    if not objective.needs_teacher:
        return None
    if teacher is None:
        raise HarnessError("distill: expected a teacher; got none; name one in the recipe's distill step")
    settings = objective.settings._replace(projection=find_projection(student) is not None)
    refuse_incompatible("distill", objective.weights, settings, student, teacher)
    if objective.align is not None:
        batch = {name: batch[f"teacher_{name}"] for name in ("input_ids", "attention_mask", "spans")}
        chosen_BL = batch["spans"] == 0  # no loss looks at the teacher's tokens one by one
    with torch.no_grad():
        return _run(objective, teacher, batch, chosen_BL, head="logits" in objective.looks_at)
