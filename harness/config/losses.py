"""The losses a step may weigh, as tables: what each looks at, and what it asks of the two models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from harness.config.shape import Shape

LayerMap = Literal["uniform", "last"]


class Loss(NamedTuple):
    """One row: a loss and what it needs.

    Attributes:
        looks_at: ``labels``, ``classes`` of a task, ``logits``, ``hidden`` states, ``attention`` or
            ``relations``.
        layerwise: whether it compares several layers of the student, each with one of the teacher.
        source: the paper, with the authors' normalisation where ours differs or theirs is known from code.
    """

    looks_at: Literal["labels", "classes", "logits", "hidden", "attention", "relations"]
    layerwise: bool
    source: str


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "mlm": Loss("labels", False, "Devlin et al. 2019; mean over masked positions"),
        "logit_mse": Loss("logits", False, "Gurgurov et al. 2025; mean over positions and vocabulary"),
        "logit_kl": Loss("logits", False, "Hinton et al. 2015; mean over positions, times τ²"),
        "logit_ce": Loss("logits", False, "Jiao et al. 2020, equation 10; mean over positions, no τ²"),
        "hidden_cosine": Loss("hidden", False, "Sanh et al. 2019; last layer, mean over positions"),
        "hidden_mse": Loss("hidden", False, "last layer, mean over positions and dimensions"),
        "embedding_mse": Loss(
            "hidden", False, "Jiao et al. 2020, equation 9; mean over positions, dimensions"
        ),
        "feature_mse": Loss(
            "hidden",
            True,
            "Jiao et al. 2020, equation 8; Sun et al. 2020, feature map transfer; both sum over layers",
        ),
        "patient": Loss(
            "hidden", True, "Sun et al. 2019, L_PT; their code takes the mean over everything, as here"
        ),
        "attention_score_mse": Loss(
            "attention", True, "Jiao et al. 2020, equation 7; before the softmax; the authors sum over layers"
        ),
        "attention_mse": Loss("attention", True, "Ansell et al. 2023; after the softmax, mean over layers"),
        "attention_kl": Loss(
            "attention", True, "Sun et al. 2020, attention transfer; the authors sum over layers"
        ),
        "relation_qq": Loss(
            "relations", False, "Wang et al. 2021 (MiniLMv2); mean over relation heads and positions"
        ),
        "relation_kk": Loss(
            "relations", False, "Wang et al. 2021 (MiniLMv2); mean over relation heads and positions"
        ),
        "relation_vv": Loss(
            "relations", False, "Wang et al. 2021 (MiniLMv2); mean over relation heads and positions"
        ),
    }
)
"""Each is a mean over the positions looked at (never padding) and over the compared layers, so that a weight
means the same at any length and depth; a paper that sums over M layers is followed by M times the weight."""

TASK_LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "labels": Loss("labels", False, "cross-entropy with the truth; mean over texts, or labelled words"),
        "class_kl": Loss(
            "classes", False, "Hinton et al. 2015; times τ²; Sun et al. 2019 take the mean over classes too"
        ),
        "class_mse": Loss("classes", False, "Kim et al. 2021; mean over texts (or words) and classes"),
        "patient": LOSSES["patient"],
        "embedding_mse": LOSSES["embedding_mse"],
        "feature_mse": LOSSES["feature_mse"],
        "attention_mse": LOSSES["attention_mse"],
    }
)
"""What a tune step may weigh: the student and the teacher fine-tuned on the task, on the task's own texts."""


def names_of(looks_at: str) -> tuple[str, ...]:
    """Gives the losses that look at one thing."""
    return tuple(name for name, loss in LOSSES.items() if loss.looks_at == looks_at)


def match_layers(way: LayerMap, student: int, teacher: int) -> list[tuple[int, int]]:
    """Gives which layer of the teacher each layer of the student is compared with, both counted from one.

    ``uniform`` takes every few (m ↦ ⌊m·N/M⌋, the last with the last: TinyBERT's map, PKD-Skip), ``last`` the
    last M (PKD-Last). The student must not be the deeper one.
    """
    if way == "last":
        return [(layer, teacher - student + layer) for layer in range(1, student + 1)]
    return [(layer, layer * teacher // student) for layer in range(1, student + 1)]


class LossSettings(NamedTuple):
    """What a step asks beside its weights: the settings that some losses use."""

    projection: bool
    relation_split: int | None


def check_compatible(
    names: Iterable[str], question: LossSettings, student: Shape, teacher: Shape
) -> str | None:
    """Gives why two models cannot be compared by these losses; ``None`` where they can."""
    for name in names:
        loss = LOSSES.get(name) or TASK_LOSSES[name]
        reason = _MISFITS[loss.looks_at](name, question, student, teacher)
        if reason is None and loss.layerwise:
            reason = _depth(name, student, teacher)
        if reason is not None:
            return reason
    return None


def _labels(name: str, question: LossSettings, student: Shape, teacher: Shape) -> str | None:
    del name, question, student, teacher
    return None


def _logits(name: str, question: LossSettings, student: Shape, teacher: Shape) -> str | None:
    del name, question
    if teacher.vocabulary == student.vocabulary:
        return None
    return (
        f"the teacher has {teacher.vocabulary} tokens, the student {student.vocabulary}; "
        "their logits cannot be compared: distill before trim, or trim both"
    )


def _hidden(name: str, question: LossSettings, student: Shape, teacher: Shape) -> str | None:
    if teacher.hidden == student.hidden or question.projection:
        return None
    return (
        f"{name} needs equal widths; the teacher has {teacher.hidden}, the student {student.hidden}: add "
        "projection: learned, take a logit or relation loss, or distill before narrow"
    )


def _attention(name: str, question: LossSettings, student: Shape, teacher: Shape) -> str | None:
    del question
    if teacher.heads == student.heads:
        return None
    return (
        f"{name} compares head with head; the teacher has {teacher.heads}, the student {student.heads}: "
        "keep all heads, or take relation losses"
    )


def _relations(name: str, question: LossSettings, student: Shape, teacher: Shape) -> str | None:
    assert question.relation_split is not None
    heads = teacher.heads * question.relation_split
    for whose, shape in (("teacher", teacher), ("student", student)):
        if shape.hidden % heads:
            return (
                f"{name} needs widths that {heads} relation heads divide; the {whose} is {shape.hidden} "
                "wide: change relation_split or the width"
            )
    return None


_MISFITS = {
    "labels": _labels,
    "classes": _labels,
    "logits": _logits,
    "hidden": _hidden,
    "attention": _attention,
    "relations": _relations,
}


def _depth(name: str, student: Shape, teacher: Shape) -> str | None:
    if student.layers > teacher.layers:
        return (
            f"{name} needs a student no deeper than its teacher; it has {student.layers} layers, the teacher "
            f"{teacher.layers}: shorten it"
        )
    if name == "patient" and student.layers < 2:
        return "patient compares the layers below the last; the student has one layer: keep two or more"
    return None
