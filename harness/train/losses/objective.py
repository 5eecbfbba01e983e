"""What a step over a corpus may minimise: a weighted sum of the losses of one table.

Every loss is a mean over positions (never over padding), so that its size does not depend on how long the
rows of a batch are; `harness.config.losses` names each paper and its authors' normalisation. The vocabulary
projections go through `harness.ops`, which never holds the logits of all positions.

Shapes: **B** batch, **L** length, **N** chosen positions, **D** hidden, **T** hidden of the teacher,
**V** vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import ops
from harness.config.losses import LOSSES, LayerMap, match_layers, names_of
from harness.data.batches import IGNORED
from harness.errors import HarnessError, unknown
from harness.models.families.mlm_head import MlmHead, split_mlm_head
from harness.models.hidden_states import HiddenStates, capture_hidden_states
from harness.train.losses import attention, hidden_states
from harness.train.losses import projection as bridge

_LOGIT, _ATTENTION, _RELATION = (frozenset(names_of(one)) for one in ("logits", "attention", "relations"))
_LAST = frozenset({"hidden_cosine", "hidden_mse"})
_DEEP = frozenset(names_of("hidden")) - _LAST
_HEADED = _LOGIT | {"mlm"}
_ROWS = 1024  # of teacher logits held at once


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses.

    Attributes:
        weights: name of a loss → its weight, all greater than zero.
        positions: where logits are compared: at every attended position, or at the masked ones.
        temperature: τ of ``logit_kl``, whose loss is multiplied by τ² (Hinton et al. 2015), and ``logit_ce``.
        layers: which layers are compared where several are.
        projection: whether the student's hidden states go through a learned projection (`train.bridge`).
        relation_split: into how many relation heads each head of the teacher is split.
    """

    weights: Mapping[str, float]
    positions: Literal["attended", "masked"] = "masked"
    temperature: float | None = None
    layers: LayerMap = "uniform"
    projection: bool = False
    relation_split: int | None = None

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in LOSSES:
                raise unknown("loss", name, LOSSES)
        for name in ("logit_kl", "logit_ce"):
            if name in self.weights and self.temperature is None:
                raise HarnessError(
                    f"distill: wanted a temperature beside {name}; got none; name one in the recipe"
                )
        if self.weights.keys() & _RELATION and self.relation_split is None:
            raise HarnessError(
                "distill: wanted relation_split beside relation losses; got none; name one in the recipe"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether any of the losses compares with a teacher."""
        return any(name != "mlm" for name in self.weights)


MLM = Objective({"mlm": 1.0})


@dataclass(frozen=True)
class _Seen:
    """One model's view of a batch.

    Attributes:
        inside: hidden states and attention, as far as the losses want them.
        hidden_ND: last hidden states at the chosen positions.
        features_ND: the same after the dense layer and norm of the MLM head, if logits are wanted.
        head: the model's MLM head.
    """

    inside: HiddenStates
    hidden_ND: Tensor
    features_ND: Tensor | None
    head: MlmHead


@dataclass(frozen=True)
class _Compared:
    """Two views of a batch, and where they are compared.

    Attributes:
        rows_N: which of the chosen positions logits are compared at.
        mask_BL: attended positions.
        bridge_TD: the learned projection, if any.
        gram_TT: WᵀW of the teacher's vocabulary projection, if formed already.
    """

    objective: Objective
    student: _Seen
    teacher: _Seen
    rows_N: Tensor
    mask_BL: Tensor
    bridge_TD: Tensor | None
    gram_TT: Tensor | None

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Layers that are compared, counted from one."""
        deep = self.student.inside.hidden_states, self.teacher.inside.hidden_states
        if len(deep[0]) > 1:
            return match_layers(self.objective.layers, len(deep[0]) - 1, len(deep[1]) - 1)
        queries = self.student.inside.queries, self.teacher.inside.queries
        return match_layers(self.objective.layers, len(queries[0]), len(queries[1]))


def constant_gram(objective: Objective, teacher: nn.Module | None) -> Tensor | None:
    """Gives what `total_loss` needs of a teacher's projection at every step, to be formed once."""
    if teacher is None or "logit_mse" not in objective.weights:
        return None
    return ops.teacher_gram(split_mlm_head(teacher).weight_VD)


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
    names = objective.weights.keys()
    seen = _see(objective, student, batch, chosen_BL, head=bool(names & _HEADED))
    compared = None
    if objective.needs_teacher:
        if teacher is None:
            raise HarnessError("distill: wanted a teacher; got none; name one in the recipe's distill step")
        with torch.no_grad():
            taught = _see(objective, teacher, batch, chosen_BL, head=bool(names & _LOGIT))
        rows_N = labels_N != IGNORED if objective.positions == "masked" else torch.ones_like(labels_N).bool()
        mask_BL = batch["attention_mask"].bool()
        compared = _Compared(objective, seen, taught, rows_N, mask_BL, bridge.weight_of(student), gram)
        _check_fit(compared)
    parts = {name: _part(name, seen, compared, labels_N) for name in names}
    total = torch.stack([weight * parts[name] for name, weight in objective.weights.items()]).sum()
    return total, {name: part.detach() for name, part in parts.items()}


def _positions(objective: Objective, batch: Mapping[str, Tensor]) -> Tensor:
    """Gives a boolean B × L: every position any of the losses of last states or logits looks at."""
    everywhere = objective.positions == "attended" and objective.weights.keys() & _LOGIT
    if everywhere or objective.weights.keys() & _LAST:
        return batch["attention_mask"].bool()
    return batch["labels"] != IGNORED


def _see(
    objective: Objective, model: nn.Module, batch: Mapping[str, Tensor], chosen_BL: Tensor, *, head: bool
) -> _Seen:
    names = objective.weights.keys()
    inside = capture_hidden_states(
        model, batch, every_layer=bool(names & _DEEP), attention=bool(names & (_ATTENTION | _RELATION))
    )
    hidden_ND = inside.hidden_states[-1][chosen_BL]
    parts = split_mlm_head(model)
    return _Seen(inside, hidden_ND, parts.transform(hidden_ND) if head else None, parts)


def _check_fit(compared: _Compared) -> None:
    names, student, teacher = compared.objective.weights.keys(), compared.student, compared.teacher
    if names & _LOGIT and len(student.head.weight_VD) != len(teacher.head.weight_VD):
        raise HarnessError(
            f"distill: wanted teacher and student of one vocabulary; got {len(teacher.head.weight_VD)} and "
            f"{len(student.head.weight_VD)} tokens; trim after distilling, or trim both"
        )
    hidden = sorted(names & (_LAST | _DEEP))
    widths = teacher.hidden_ND.shape[-1], student.hidden_ND.shape[-1]
    if hidden and compared.bridge_TD is None and widths[0] != widths[1]:
        raise HarnessError(
            f"distill: {hidden[0]} wanted teacher and student of one hidden size; got {widths[0]} and "
            f"{widths[1]}; add projection: learned, leave it out, or distil before narrowing"
        )
    heads = teacher.inside.num_heads, student.inside.num_heads
    if names & _ATTENTION and heads[0] != heads[1]:
        raise HarnessError(
            f"distill: {sorted(names & _ATTENTION)[0]} wanted as many heads in both; got {heads[0]} and "
            f"{heads[1]}; keep all heads, or take relation losses"
        )


def _part(name: str, seen: _Seen, compared: _Compared | None, labels_N: Tensor) -> Tensor:
    if name == "mlm":
        return _mlm(seen, labels_N)
    assert compared is not None
    return _PARTS[name](compared)


def _mlm(seen: _Seen, labels_N: Tensor) -> Tensor:
    """Cross-entropy at the masked positions alone (Devlin et al. 2019)."""
    assert seen.features_ND is not None
    asked_N = labels_N != IGNORED
    if not bool(asked_N.any()):
        return seen.features_ND.sum() * 0.0
    features_ND, weight_VD, bias_V = seen.features_ND[asked_N], seen.head.weight_VD, seen.head.bias_V
    return ops.linear_distillation_loss(
        features_ND,
        weight_VD,
        features_ND.detach(),  # nothing is soft: no teacher is looked at
        weight_VD.detach(),
        labels_N[asked_N],
        student_bias=bias_V,
        temperature=1.0,
        soft_weight=0.0,
        hard_weight=1.0,
    )


def _last(kind: Literal["cosine", "mse"]) -> Callable[[_Compared], Tensor]:
    def loss(compared: _Compared) -> Tensor:
        projections = None if compared.bridge_TD is None else [compared.bridge_TD]
        return ops.hidden_state_loss(
            [compared.student.hidden_ND], [compared.teacher.hidden_ND], kind=kind, projections=projections
        )

    return loss


def _features(compared: _Compared) -> tuple[Tensor, Tensor]:
    """Gives the student's and the teacher's features at the positions where logits are compared."""
    student_ND, teacher_ND = compared.student.features_ND, compared.teacher.features_ND
    assert student_ND is not None
    assert teacher_ND is not None
    if bool(compared.rows_N.all()):
        return student_ND, teacher_ND
    return student_ND[compared.rows_N], teacher_ND[compared.rows_N]


def _logit_mse(compared: _Compared) -> Tensor:
    student_ND, teacher_ND = _features(compared)
    if len(student_ND) == 0:
        return student_ND.sum() * 0.0
    student, teacher = compared.student.head, compared.teacher.head
    return ops.linear_mse_logits_loss(
        student_ND,
        student.weight_VD,
        teacher_ND,
        teacher.weight_VD,
        student_bias=student.bias_V,
        teacher_bias=teacher.bias_V,
        teacher_gram=compared.gram_TT,
    )


def _logit_kl(compared: _Compared) -> Tensor:
    student_ND, teacher_ND = _features(compared)
    if len(student_ND) == 0:
        return student_ND.sum() * 0.0
    assert compared.objective.temperature is not None
    student, teacher = compared.student.head, compared.teacher.head
    return ops.linear_distillation_loss(
        student_ND,
        student.weight_VD,
        teacher_ND,
        teacher.weight_VD,
        student_bias=student.bias_V,
        teacher_bias=teacher.bias_V,
        temperature=compared.objective.temperature,
        soft_weight=1.0,
        hard_weight=0.0,
    )


def _logit_ce(compared: _Compared) -> Tensor:
    """Cross-entropy with the teacher's softened distribution: the divergence and the teacher's entropy."""
    temperature = compared.objective.temperature
    assert temperature is not None
    _, teacher_ND = _features(compared)
    divergence = _logit_kl(compared) / temperature**2
    return divergence + _entropy(teacher_ND, compared.teacher.head, temperature)


@torch.no_grad()
def _entropy(features_ND: Tensor, head: MlmHead, temperature: float) -> Tensor:
    total = features_ND.new_zeros((), dtype=torch.float32)
    for rows_ND in torch.split(features_ND, _ROWS):
        logits_NV = functional.linear(rows_ND, head.weight_VD, head.bias_V).float() / temperature
        log_NV = functional.log_softmax(logits_NV, -1)
        total -= (log_NV.exp() * log_NV).sum()
    return total / max(1, len(features_ND))


def _embedding_mse(compared: _Compared) -> Tensor:
    hiddens = compared.student.inside.hidden_states, compared.teacher.inside.hidden_states
    return hidden_states.feature_mse(*hiddens, [(0, 0)], compared.mask_BL, compared.bridge_TD)


def _feature_mse(compared: _Compared) -> Tensor:
    hiddens = compared.student.inside.hidden_states, compared.teacher.inside.hidden_states
    return hidden_states.feature_mse(*hiddens, compared.pairs, compared.mask_BL, compared.bridge_TD)


def _patient(compared: _Compared) -> Tensor:
    hiddens = compared.student.inside.hidden_states, compared.teacher.inside.hidden_states
    return hidden_states.patient(*hiddens, compared.pairs, compared.bridge_TD)


def _attended(
    loss: Callable[[HiddenStates, HiddenStates, hidden_states.Pairs, Tensor], Tensor],
) -> Callable[[_Compared], Tensor]:
    return lambda compared: loss(
        compared.student.inside, compared.teacher.inside, compared.pairs, compared.mask_BL
    )


def _related(role: Literal["queries", "keys", "values"]) -> Callable[[_Compared], Tensor]:
    """Compares the last layers' relations."""

    def loss(compared: _Compared) -> Tensor:
        split = compared.objective.relation_split
        assert split is not None
        student, teacher = compared.student.inside, compared.teacher.inside
        vectors = getattr(student, role)[-1], getattr(teacher, role)[-1]
        return attention.relation_kl(*vectors, teacher.num_heads * split, compared.mask_BL)

    return loss


_PARTS: Mapping[str, Callable[[_Compared], Tensor]] = {
    "logit_mse": _logit_mse,
    "logit_kl": _logit_kl,
    "logit_ce": _logit_ce,
    "hidden_cosine": _last("cosine"),
    "hidden_mse": _last("mse"),
    "embedding_mse": _embedding_mse,
    "feature_mse": _feature_mse,
    "patient": _patient,
    "attention_score_mse": _attended(attention.score_mse),
    "attention_mse": _attended(attention.map_mse),
    "attention_kl": _attended(attention.map_kl),
    "relation_qq": _related("queries"),
    "relation_kk": _related("keys"),
    "relation_vv": _related("values"),
}
