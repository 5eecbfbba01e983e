"""The losses that a step may weigh, a row each; `harness.train.losses` has the function of each row.

A loss is a mean over the positions it looks at (never padding) and over the compared layers, so that a weight
means the same at any length and depth; a paper that sums over M layers is followed by M times the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

LayerMap = Literal["uniform", "last"]
LossStep = Literal["distill", "tune"]
MeanOver = Literal["labels", "compared", "attended", "rows", "pairs"]


class Loss(NamedTuple):
    """A row of the table.

    Attributes:
        looks_at: what it is computed from: ``labels``; ``classes``, the logits of a task; ``logits`` of the
            vocabulary; ``last_state``, the last hidden states; ``states`` of several layers; ``attention``
            or ``relations``.
        source: the paper, with the authors' normalisation where ours differs or theirs is known from code.
        steps: the kinds of step that may weigh it.
        requires: what teacher and student must share; a learned projection makes up for unequal widths.
        setting: the setting of the step that it cannot do without.
        layerwise: whether it compares several layers of the student, each with one of the teacher.
        min_layers: how many layers the student must have.
        mean_over: what the loss is a mean over: labelled positions or texts; positions whose logits are
            compared; attended positions; rows; or pairs of attended positions of a row.
    """

    looks_at: Literal["labels", "classes", "logits", "last_state", "states", "attention", "relations"]
    source: str
    steps: tuple[LossStep, ...] = ("distill",)
    requires: Literal["vocabulary", "width", "heads", "relation_heads"] | None = None
    setting: Literal["temperature", "relation_split"] | None = None
    layerwise: bool = False
    min_layers: int = 1
    mean_over: MeanOver = "attended"


_BOTH: tuple[LossStep, ...] = ("distill", "tune")
_MINILM = "Wang et al. 2021 (MiniLMv2); mean over relation heads and positions"

LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "mlm": Loss("labels", "Devlin et al. 2019; mean over masked positions", mean_over="labels"),
        "labels": Loss(
            "labels",
            "cross-entropy with the gold labels; mean over texts, or labelled words",
            ("tune",),
            mean_over="labels",
        ),
        "class_kl": Loss(
            "classes",
            "Hinton et al. 2015; times τ²; Sun et al. 2019 take the mean over classes too",
            ("tune",),
            setting="temperature",
            mean_over="labels",
        ),
        "class_mse": Loss(
            "classes",
            "Kim et al. 2021; mean over texts (or words) and classes",
            ("tune",),
            mean_over="labels",
        ),
        "logit_mse": Loss(
            "logits",
            "Gurgurov et al. 2025; mean over positions and vocabulary",
            requires="vocabulary",
            mean_over="compared",
        ),
        "logit_kl": Loss(
            "logits",
            "Hinton et al. 2015; mean over positions, times τ²",
            requires="vocabulary",
            setting="temperature",
            mean_over="compared",
        ),
        "logit_ce": Loss(
            "logits",
            "Jiao et al. 2020, equation 10; mean over positions, no τ²",
            requires="vocabulary",
            setting="temperature",
            mean_over="compared",
        ),
        "hidden_cosine": Loss(
            "last_state", "Sanh et al. 2019; last layer, mean over positions", requires="width"
        ),
        "centred_cosine": Loss(
            "last_state",
            "as hidden_cosine, less the teacher's mean state of the batch",
            requires="width",
        ),
        "sentence_cosine": Loss(
            "states",
            "Reimers and Gurevych 2019 for the mean over a row; less the teacher's mean of the batch",
            requires="width",
            mean_over="rows",
        ),
        "hidden_mse": Loss("last_state", "last layer, mean over positions and dimensions", requires="width"),
        "embedding_mse": Loss(
            "states", "Jiao et al. 2020, equation 9; mean over positions, dimensions", _BOTH, requires="width"
        ),
        "feature_mse": Loss(
            "states",
            "Jiao et al. 2020, equation 8; Sun et al. 2020, feature map transfer; both sum over layers",
            _BOTH,
            requires="width",
            layerwise=True,
        ),
        "patient": Loss(
            "states",
            "Sun et al. 2019, L_PT; their code takes the mean over everything, as here",
            _BOTH,
            requires="width",
            layerwise=True,
            min_layers=2,
            mean_over="rows",
        ),
        "attention_score_mse": Loss(
            "attention",
            "Jiao et al. 2020, equation 7; before the softmax; the authors sum over layers",
            _BOTH,
            requires="heads",
            layerwise=True,
            mean_over="pairs",
        ),
        "attention_mse": Loss(
            "attention",
            "Ansell et al. 2023; after the softmax, mean over layers",
            _BOTH,
            requires="heads",
            layerwise=True,
            mean_over="pairs",
        ),
        "attention_kl": Loss(
            "attention",
            "Sun et al. 2020, attention transfer; the authors sum over layers",
            requires="heads",
            layerwise=True,
        ),
        "relation_qq": Loss("relations", _MINILM, requires="relation_heads", setting="relation_split"),
        "relation_kk": Loss("relations", _MINILM, requires="relation_heads", setting="relation_split"),
        "relation_vv": Loss("relations", _MINILM, requires="relation_heads", setting="relation_split"),
    }
)


def _select(step: LossStep) -> Mapping[str, Loss]:
    return MappingProxyType({name: loss for name, loss in LOSSES.items() if step in loss.steps})


DISTILL_LOSSES = _select("distill")
"""Of two language models, on the text of a corpus."""

TASK_LOSSES = _select("tune")
"""Of the student and the teacher fine-tuned on the task, on the task's own texts."""


def list_losses(*looks_at: str) -> tuple[str, ...]:
    """Return the names of the losses that are computed from one of these."""
    return tuple(name for name, loss in LOSSES.items() if loss.looks_at in looks_at)


def match_layers(way: LayerMap, student: int, teacher: int) -> list[tuple[int, int]]:
    """Return which layer of the teacher each layer of the student is compared with, both counted from 1.

    ``uniform`` takes every few (m ↦ ⌊m·N/M⌋, the last with the last: TinyBERT's map, PKD-Skip), ``last`` the
    last M (PKD-Last). The student must not be the deeper model.
    """
    if way == "last":
        return [(layer, teacher - student + layer) for layer in range(1, student + 1)]
    return [(layer, layer * teacher // student) for layer in range(1, student + 1)]


def describe_weights(losses: Mapping[str, float]) -> str:
    """Return weighted losses as a sum, as ``0.5·mlm + 0.5·logit_mse``."""
    return " + ".join(f"{weight:g}·{name}" for name, weight in losses.items())


class LossSettings(NamedTuple):
    """The settings of a step that some losses use.

    Attributes:
        temperature: τ of the softened losses.
        layers: which layers are compared where several are.
        projection: whether a learned projection joins two widths; no ``tune`` step has one.
        relation_split: into how many relation heads each head of the teacher is split.
    """

    temperature: float | None = None
    layers: LayerMap | None = None
    projection: bool = False
    relation_split: int | None = None


_EXAMPLES = {"temperature": "temperature: 2", "relation_split": "relation_split: 4"}


def find_missing_setting(names: Iterable[str], settings: LossSettings) -> str | None:
    """Return which setting one of the losses lacks, as the rest of a message; ``None`` if none does."""
    for name in names:
        setting = LOSSES[name].setting
        if setting is not None and getattr(settings, setting) is None:
            return f"expected a {setting} with {name}; got none; add one, as {_EXAMPLES[setting]}"
    return None


def find_unused_setting(
    names: Iterable[str], settings: LossSettings, known: Mapping[str, Loss]
) -> str | None:
    """Return which setting no loss of a step uses, as the rest of a message; ``None`` if all are used.

    Args:
        names: the losses that the step weighs.
        settings: of the step.
        known: the losses that a step of its kind may weigh.
    """
    weighed = set(names)
    for setting, value in settings._asdict().items():
        users = [name for name, loss in known.items() if _uses(loss, setting)]
        if value and weighed.isdisjoint(users):
            return f"{setting} is used by {', '.join(users)} only; remove it, or weigh one of them"
    return None


def _uses(loss: Loss, setting: str) -> bool:
    if setting == "layers":
        return loss.layerwise
    if setting == "projection":
        return loss.requires == "width"
    return loss.setting == setting


_ALIGNABLE = ("labels", "last_state", "states")


def find_unalignable(names: Iterable[str]) -> str | None:
    """Return which loss compares token by token, as the rest of a message; ``None`` if none does.

    Hidden states can be compared at spans of text, though two models read it as other tokens.
    """
    able = [name for name, loss in DISTILL_LOSSES.items() if loss.looks_at in _ALIGNABLE]
    unable = [name for name in names if name not in able]
    if not unable:
        return None
    return f"align goes with {', '.join(able)}; got {unable[0]}, which compares token by token; remove one"


def find_not_of_one_layer(names: Iterable[str]) -> str | None:
    """Return which loss is none of single layers, as the rest of a message; ``None`` if all are."""
    able = [name for name, loss in DISTILL_LOSSES.items() if loss.layerwise and loss.min_layers == 1]
    unable = [name for name in names if name not in able]
    if not unable:
        return None
    return (
        f"progressive goes with losses of single layers ({', '.join(able)}); got {unable[0]}; weigh it in a "
        "distill step after this one"
    )


class Sizes(Protocol):
    """The numbers of a model by which losses compare; a `harness.config.shape.Shape` has them."""

    @property
    def layers(self) -> int:
        """Transformer layers."""

    @property
    def hidden(self) -> int:
        """Width of the hidden states."""

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""

    @property
    def vocabulary(self) -> int:
        """Tokens, counting the special ones."""


def check_compatible(
    names: Iterable[str], settings: LossSettings, student: Sizes, teacher: Sizes
) -> str | None:
    """Return why two models cannot be compared by some losses; ``None`` where they can."""
    for name in names:
        loss = LOSSES[name]
        check = _CHECKS[loss.requires] if loss.requires else None
        reason = check(name, settings, student, teacher) if check else None
        reason = reason or _check_depth(name, loss, student, teacher)
        if reason is not None:
            return reason
    return None


def _check_vocabulary(name: str, _: LossSettings, student: Sizes, teacher: Sizes) -> str | None:
    if teacher.vocabulary == student.vocabulary:
        return None
    return (
        f"{name} expected one vocabulary in teacher and student; got {teacher.vocabulary} and "
        f"{student.vocabulary} tokens; distill before trim, or trim both"
    )


def _check_width(name: str, settings: LossSettings, student: Sizes, teacher: Sizes) -> str | None:
    if teacher.hidden == student.hidden or settings.projection:
        return None
    return (
        f"{name} expected one hidden size in teacher and student; got {teacher.hidden} and "
        f"{student.hidden}; take losses of logits, relations or classes, move the step before narrow, or add "
        "projection: learned to a distill step"
    )


def _check_heads(name: str, _: LossSettings, student: Sizes, teacher: Sizes) -> str | None:
    if teacher.heads == student.heads:
        return None
    return (
        f"{name} expected as many heads in teacher and student; got {teacher.heads} and {student.heads}; "
        "keep all heads, or take relation losses"
    )


def _check_relation_heads(name: str, settings: LossSettings, student: Sizes, teacher: Sizes) -> str | None:
    heads = teacher.heads * (settings.relation_split or 1)
    for whose, sizes in (("teacher", teacher), ("student", student)):
        if sizes.hidden % heads:
            return (
                f"{name} expected widths that {heads} relation heads divide; got {sizes.hidden} in the "
                f"{whose}; change relation_split or the width"
            )
    return None


_CHECKS: Mapping[str, Callable[[str, LossSettings, Sizes, Sizes], str | None]] = {
    "vocabulary": _check_vocabulary,
    "width": _check_width,
    "heads": _check_heads,
    "relation_heads": _check_relation_heads,
}


def _check_depth(name: str, loss: Loss, student: Sizes, teacher: Sizes) -> str | None:
    if loss.layerwise and student.layers > teacher.layers:
        return (
            f"{name} expected a student no deeper than its teacher; got {student.layers} layers and the "
            f"teacher's {teacher.layers}; shorten the student"
        )
    if student.layers < loss.min_layers:
        return (
            f"{name} expected a student of {loss.min_layers} layers or more, since it compares the layers "
            f"below the last; got {student.layers}; keep more layers"
        )
    return None
