"""Learning a task from a teacher that was fine-tuned on it: the losses, and the student that begins as it.

Shapes: **B** batch, **L** length, **C** classes, **N** texts or labelled words, **D** hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer

from harness.config.losses import TASK_LOSSES, LayerMap, match_layers
from harness.data.batches import IGNORED
from harness.errors import HarnessError, unknown
from harness.models.families.table import LAYOUTS
from harness.models.hidden_states import HiddenStates, collect_hidden_states, record_attention
from harness.train.losses import attention, hidden_states


@dataclass(frozen=True)
class Lesson:
    """How a student learns a task from a teacher.

    Attributes:
        teacher: folder of the model fine-tuned on the task.
        weights: losses of `harness.config.losses.TASK_LOSSES` → their weights.
        temperature: τ of ``class_kl``.
        layers: which layers are compared where some are.
        kept_layers: the teacher's layers that the student begins with, beside its embeddings and head;
            None leaves the student's own.
    """

    teacher: Path
    weights: Mapping[str, float]
    temperature: float | None = None
    layers: LayerMap = "uniform"
    kept_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in TASK_LOSSES:
                raise unknown("loss", name, TASK_LOSSES)
        if "class_kl" in self.weights and self.temperature is None:
            raise HarnessError("tune: wanted a temperature beside class_kl; got none; name one in the recipe")

    def looks_at(self, *what: str) -> bool:
        """Whether any of the losses looks at one of these."""
        return any(TASK_LOSSES[name].looks_at in what for name in self.weights)

    def __str__(self) -> str:
        terms = [f"{weight:g}*{name}" for name, weight in sorted(self.weights.items())]
        how = f"@{self.temperature:g}" if self.temperature is not None else ""
        layers = f"/{self.layers}" if self.looks_at("hidden", "attention") else ""
        return f"{'+'.join(terms)}{how}{layers}{'/tuned' if self.kept_layers else ''}"


class Told(NamedTuple):
    """What one model says of a batch.

    Attributes:
        logits_NC: at the texts, or at the labelled words.
        inside: hidden states after the embeddings and each layer, and attention, as far as they are compared.
    """

    logits_NC: Tensor
    inside: HiddenStates


def start_as(student: Any, teacher: Any, kept_layers: tuple[int, ...]) -> None:
    """Copies embeddings, head and some layers of a task model into a shallower one of the same widths.

    Holds: the student then computes what the teacher computes without its other layers.
    """
    prefix = f"{LAYOUTS[student.config.model_type].layers}."
    theirs = teacher.state_dict()

    def source(name: str) -> str:
        if not name.startswith(prefix):
            return name
        number, _, rest = name.removeprefix(prefix).partition(".")
        return f"{prefix}{kept_layers[int(number)]}.{rest}"

    student.load_state_dict({name: theirs[source(name)] for name in student.state_dict()})


def lesson_loss(lesson: Lesson, student: Told, teacher: Told, batch: Mapping[str, Tensor]) -> Tensor:
    """Gives the weighted sum of a lesson's losses.

    Args:
        lesson: the losses and their weights.
        student: gradients flow to it.
        teacher: of the same classes, and the same widths where hidden states are compared.
        batch: ``attention_mask`` (B × L) and ``labels`` (B, or B × L with −100 where nothing is asked).
    """
    labels_N = batch["labels"][batch["labels"] != IGNORED]
    one, other, mask_BL = student.inside, teacher.inside, batch["attention_mask"].bool()
    pairs = match_layers(lesson.layers, _depth(one), _depth(other))
    losses: dict[str, Callable[[], Tensor]] = {
        "labels": lambda: functional.cross_entropy(student.logits_NC, labels_N),
        "class_kl": lambda: _class_kl(student.logits_NC, teacher.logits_NC, lesson.temperature or 1.0),
        "class_mse": lambda: functional.mse_loss(student.logits_NC, teacher.logits_NC),
        "patient": lambda: hidden_states.patient(one.hidden_states, other.hidden_states, pairs, None),
        "embedding_mse": lambda: hidden_states.feature_mse(
            one.hidden_states, other.hidden_states, [(0, 0)], mask_BL, None
        ),
        "feature_mse": lambda: hidden_states.feature_mse(
            one.hidden_states, other.hidden_states, pairs, mask_BL, None
        ),
        "attention_mse": lambda: attention.map_mse(one, other, pairs, mask_BL),
    }
    return torch.stack([weight * losses[name]() for name, weight in lesson.weights.items()]).sum()


def _depth(inside: HiddenStates) -> int:
    return max(len(inside.hidden_states) - 1, len(inside.queries))


def _class_kl(student_NC: Tensor, teacher_NC: Tensor, temperature: float) -> Tensor:
    """Mean over rows of the divergence of softened classes, times τ² (Hinton et al. 2015)."""
    divergence = functional.kl_div(
        functional.log_softmax(student_NC / temperature, -1),
        functional.log_softmax(teacher_NC / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


class TaughtTrainer(Trainer):  # type: ignore[misc]
    """A trainer whose loss looks at a teacher.

    Args:
        lesson: what to minimise.
        teacher: the fine-tuned model; it is not trained.
        settings: of `transformers.Trainer`.
    """

    def __init__(self, *, lesson: Lesson, teacher: nn.Module, **settings: Any) -> None:
        super().__init__(**settings)
        self.lesson = lesson
        self.model_accepts_loss_kwargs = False
        self.teacher = teacher.eval().requires_grad_(requires_grad=False).to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Gives the lesson's loss on a batch; a mean over its texts or labelled words."""
        with self.accelerator.autocast():
            student = self._ask(model, inputs)
            with torch.no_grad():
                teacher = self._ask(self.teacher, inputs)
        loss = lesson_loss(self.lesson, student, teacher, inputs)
        return (loss, None) if return_outputs else loss

    def _ask(self, model: Any, inputs: dict[str, Tensor]) -> Told:
        deep = self.lesson.looks_at("hidden")
        with record_attention(model, enabled=self.lesson.looks_at("attention")) as seen:
            given = {name: value for name, value in inputs.items() if name != "labels"}
            outputs = model(**given, output_hidden_states=deep)
        states = tuple(outputs.hidden_states) if deep else ()
        logits_NC = outputs.logits[inputs["labels"] != IGNORED].float()
        return Told(logits_NC, collect_hidden_states(states, seen, model.config))
