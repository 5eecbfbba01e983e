"""What a step over a corpus may minimise: a weighted sum of the losses of one table.

Every loss is a mean over positions (never over padding), so that its size does not depend on how long the
rows of a batch are. The vocabulary projections go through `harness.ops`, which never holds the logits of
all positions.

Shapes: **B** batch, **L** length, **N** chosen positions, **D** hidden, **V** vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import ops
from harness.data.batches import IGNORED
from harness.errors import HarnessError, unknown
from harness.models.heads import mlm_head

LOSSES = ("mlm", "logit_mse", "logit_kl", "hidden_cosine", "hidden_mse")
_LOGIT = {"logit_mse", "logit_kl"}
_HIDDEN = {"hidden_cosine", "hidden_mse"}


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses.

    Attributes:
        weights: name of a loss → its weight, all greater than zero.
        positions: where logits are compared: at every attended position, or at the masked ones.
        temperature: τ of ``logit_kl``; its loss is multiplied by τ² (Hinton et al. 2015).
    """

    weights: Mapping[str, float]
    positions: Literal["attended", "masked"] = "masked"
    temperature: float | None = None

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in LOSSES:
                raise unknown("loss", name, LOSSES)
        if "logit_kl" in self.weights and self.temperature is None:
            raise HarnessError(
                "distill: wanted a temperature beside logit_kl; got none; name one in the recipe"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether any of the losses compares with a teacher."""
        return any(name != "mlm" for name in self.weights)


MLM = Objective({"mlm": 1.0})


@dataclass(frozen=True)
class _Seen:
    """One model's view of a batch, at the chosen positions only.

    Attributes:
        hidden_ND: last hidden states.
        features_ND: the same after the dense layer and norm of the MLM head.
        weight_VD: the vocabulary projection.
        bias_V: its bias.
        gram_DD: WᵀW of a projection that stays as it is.
    """

    hidden_ND: Tensor
    features_ND: Tensor | None
    weight_VD: Tensor
    bias_V: Tensor | None
    gram_DD: Tensor | None = None


def constant_gram(objective: Objective, teacher: nn.Module | None) -> Tensor | None:
    """Gives what `total_loss` needs of a teacher's projection at every step, to be formed once."""
    if teacher is None or "logit_mse" not in objective.weights:
        return None
    return ops.teacher_gram(mlm_head(teacher).weight_VD)


def total_loss(
    objective: Objective,
    student: nn.Module,
    teacher: nn.Module | None,
    batch: Mapping[str, Tensor],
    gram: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gives the weighted sum, and each loss by name before weighting (detached).

    Holds: padding does not enter; a batch without any position of a loss's kind gives zero for it.

    Args:
        objective: the losses and their weights.
        student: an MLM model of a known family; gradients flow to it.
        teacher: the same with the same vocabulary, without dropout; ``None`` if no loss needs it.
        batch: ``input_ids``, ``attention_mask``, ``labels`` (B × L; labels −100 where nothing is asked).
        gram: what `constant_gram` gives; formed anew if none.

    Raises:
        HarnessError: a teacher is needed and missing, or its vocabulary or width does not fit.
    """
    chosen_BL = _positions(objective, batch)
    labels_N = batch["labels"][chosen_BL]
    seen = _see(student, batch, chosen_BL, head=bool(objective.weights.keys() & (_LOGIT | {"mlm"})))
    taught = None
    if objective.needs_teacher:
        if teacher is None:
            raise HarnessError("distill: wanted a teacher; got none; name one in the recipe's distill step")
        with torch.no_grad():
            taught = _see(teacher, batch, chosen_BL, head=bool(objective.weights.keys() & _LOGIT))
        taught = replace(taught, gram_DD=gram)
        _check_fit(objective, seen, taught)
    parts = {name: _part(name, objective, seen, taught, labels_N) for name in objective.weights}
    total = torch.stack([weight * parts[name] for name, weight in objective.weights.items()]).sum()
    return total, {name: part.detach() for name, part in parts.items()}


def _positions(objective: Objective, batch: Mapping[str, Tensor]) -> Tensor:
    """Gives a boolean B × L: every position any of the losses looks at."""
    attended = objective.positions == "attended" and objective.needs_teacher
    if attended or objective.weights.keys() & _HIDDEN:
        return batch["attention_mask"].bool()
    return batch["labels"] != IGNORED


def _see(model: nn.Module, batch: Mapping[str, Tensor], chosen_BL: Tensor, *, head: bool) -> _Seen:
    encoder = model.base_model
    assert isinstance(encoder, nn.Module)
    states_BLD = encoder(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).last_hidden_state
    hidden_ND = states_BLD[chosen_BL]
    parts = mlm_head(model)
    features_ND = parts.transform(hidden_ND) if head else None
    return _Seen(hidden_ND, features_ND, parts.weight_VD, parts.bias_V)


def _check_fit(objective: Objective, seen: _Seen, taught: _Seen) -> None:
    if objective.weights.keys() & _LOGIT and len(seen.weight_VD) != len(taught.weight_VD):
        raise HarnessError(
            f"distill: wanted teacher and student of one vocabulary; got {len(taught.weight_VD)} and "
            f"{len(seen.weight_VD)} tokens; trim after distilling, or trim both"
        )
    hidden = sorted(objective.weights.keys() & _HIDDEN)
    if hidden and seen.hidden_ND.shape[-1] != taught.hidden_ND.shape[-1]:
        raise HarnessError(
            f"distill: {hidden[0]} wanted teacher and student of one hidden size; got "
            f"{taught.hidden_ND.shape[-1]} and {seen.hidden_ND.shape[-1]}; leave it out, or distil before "
            "narrowing"
        )


def _part(name: str, objective: Objective, seen: _Seen, taught: _Seen | None, labels_N: Tensor) -> Tensor:
    if name == "mlm":
        return _mlm(seen, labels_N)
    assert taught is not None
    if name in _HIDDEN:
        kind: Literal["cosine", "mse"] = "cosine" if name == "hidden_cosine" else "mse"
        return ops.hidden_state_loss([seen.hidden_ND], [taught.hidden_ND], kind=kind)
    rows_N = torch.ones_like(labels_N, dtype=torch.bool)
    if objective.positions == "masked":
        rows_N = labels_N != IGNORED
    return _logits(name, objective, seen, taught, rows_N)


def _mlm(seen: _Seen, labels_N: Tensor) -> Tensor:
    """Cross-entropy at the masked positions alone (Devlin et al. 2019)."""
    assert seen.features_ND is not None
    asked_N = labels_N != IGNORED
    if not bool(asked_N.any()):
        return seen.features_ND.sum() * 0.0
    logits_NV = functional.linear(seen.features_ND[asked_N], seen.weight_VD, seen.bias_V)
    return functional.cross_entropy(logits_NV.float(), labels_N[asked_N])


def _logits(name: str, objective: Objective, seen: _Seen, taught: _Seen, rows_N: Tensor) -> Tensor:
    """Compares two models' logits without holding either's."""
    assert seen.features_ND is not None
    assert taught.features_ND is not None
    student_ND, teacher_ND = seen.features_ND, taught.features_ND
    if not bool(rows_N.all()):
        student_ND, teacher_ND = student_ND[rows_N], teacher_ND[rows_N]
    if len(student_ND) == 0:
        return seen.features_ND.sum() * 0.0
    if name == "logit_mse":
        return ops.linear_mse_logits_loss(
            student_ND,
            seen.weight_VD,
            teacher_ND,
            taught.weight_VD,
            student_bias=seen.bias_V,
            teacher_bias=taught.bias_V,
            teacher_gram=taught.gram_DD,
        )
    assert objective.temperature is not None
    return ops.linear_distillation_loss(
        student_ND,
        seen.weight_VD,
        teacher_ND,
        taught.weight_VD,
        student_bias=seen.bias_V,
        teacher_bias=taught.bias_V,
        temperature=objective.temperature,
        soft_weight=1.0,
        hard_weight=0.0,
    )
