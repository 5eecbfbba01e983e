"""Task distillation: a student learns a task from a teacher that was fine-tuned on it.

Shapes: **N** texts or labelled words, **C** classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.config.losses import (
    LOSSES,
    TASK_LOSSES,
    LayerMap,
    LossSettings,
    find_missing_setting,
)
from harness.data.batches import IGNORED
from harness.errors import HarnessError, unknown
from harness.models.families.table import LAYOUTS
from harness.models.hidden_states import HiddenStates, collect_hidden_states, record_attention
from harness.train.losses import attention, hidden_states, task  # noqa: F401  their functions register
from harness.train.losses.compatibility import refuse_incompatible
from harness.train.losses.inputs import FUNCTIONS, LossInputs, Outputs
from harness.train.parts import BatchPart, weigh
from harness.train.trainer import FiniteTrainer

_NO_STATES = HiddenStates((), (), (), (), 1)


@dataclass(frozen=True)
class TaskDistillation:
    """How a student learns a task from a teacher.

    Attributes:
        teachers: folders of the model fine-tuned on the task, one a seed. The losses compare with the mean of
            their logits; hidden states, attention and kept layers are the first one's.
        weights: losses of `harness.config.losses.TASK_LOSSES` → their weights.
        temperature: τ of ``class_kl``.
        layers: which layers are compared where several are.
        kept_layers: the teacher's layers that the student begins with, besides its embeddings and head;
            None leaves the student's own.
        text_lines: lines of the corpus that the teachers label and the student learns from first; None: none.
    """

    teachers: tuple[Path, ...]
    weights: Mapping[str, float]
    temperature: float | None = None
    layers: LayerMap = "uniform"
    kept_layers: tuple[int, ...] | None = None
    text_lines: int | None = None

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in TASK_LOSSES:
                raise unknown("loss", name, TASK_LOSSES)
        missing = find_missing_setting(self.weights, self.settings)
        if missing is not None:
            raise HarnessError(f"tune: {missing}")

    @property
    def settings(self) -> LossSettings:
        """The settings that some losses use."""
        return LossSettings(self.temperature, self.layers)

    @property
    def looks_at(self) -> frozenset[str]:
        """What the losses are computed from, as in `harness.config.losses.Loss`."""
        return frozenset(LOSSES[name].looks_at for name in self.weights)

    @property
    def stores_logits(self) -> bool:
        """Whether the teachers' logits are computed once and stored, rather than with each batch."""
        return self.text_lines is not None or len(self.teachers) > 1

    def for_text(self) -> TaskDistillation:
        """Return the distillation on text that has no gold labels."""
        return replace(self, weights={name: one for name, one in self.weights.items() if name != "labels"})

    def __str__(self) -> str:
        terms = [f"{weight:g}*{name}" for name, weight in sorted(self.weights.items())]
        temperature = f"@{self.temperature:g}" if self.temperature is not None else ""
        layers = f"/{self.layers}" if self.looks_at & {"states", "attention"} else ""
        teachers = f"/{len(self.teachers)} teachers" if len(self.teachers) > 1 else ""
        text = f"/{self.text_lines} lines" if self.text_lines is not None else ""
        start = "/tuned" if self.kept_layers else ""
        return f"{'+'.join(terms)}{temperature}{layers}{start}{teachers}{text}"


def copy_layers(student: Any, teacher: Any, kept_layers: tuple[int, ...]) -> None:
    """Copy embeddings, head and some layers of a task model into a shallower model of the same widths.

    Invariants: the student then computes what the teacher computes without its other layers.
    """
    prefix = f"{LAYOUTS[student.config.model_type].layers}."
    teacher_weights = teacher.state_dict()

    def find_source(name: str) -> str:
        if not name.startswith(prefix):
            return name
        number, _, rest = name.removeprefix(prefix).partition(".")
        return f"{prefix}{kept_layers[int(number)]}.{rest}"

    student.load_state_dict({name: teacher_weights[find_source(name)] for name in student.state_dict()})


def task_distillation_loss(
    distillation: TaskDistillation,
    student: Outputs,
    teacher: Outputs,
    batch: Mapping[str, Tensor],
    part: BatchPart | None = None,
) -> Tensor:
    """Return the weighted sum of the losses.

    Args:
        distillation: the losses and their weights.
        student: gradients flow to it.
        teacher: of the same classes, and the same widths where hidden states are compared.
        batch: ``attention_mask`` (B × L) and ``labels`` (B, or B × L with −100 where a token has no label).
        part: the batch's place in a larger one; the sum is then the part's share. None: it is whole.
    """
    inputs = LossInputs(
        student=student,
        teacher=teacher,
        labels_N=batch["labels"][batch["labels"] != IGNORED],
        mask_BL=batch["attention_mask"].bool(),
        settings=distillation.settings,
    )
    terms = [
        weight * weigh(FUNCTIONS[name](inputs), LOSSES[name], part)
        for name, weight in distillation.weights.items()
    ]
    return torch.stack(terms).sum()


class TaskDistillationTrainer(FiniteTrainer):
    """A trainer that compares its model with a teacher fine-tuned on the task.

    Args:
        distillation: what to minimise.
        teacher: the fine-tuned model; it is not trained. None where the batches have the teachers' logits, as
            ``teacher_logits`` (N × C).
        settings: of `transformers.Trainer`.

    Raises:
        HarnessError: a loss cannot compare the two models.
    """

    def __init__(
        self, *, distillation: TaskDistillation, teacher: nn.Module | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.distillation = distillation
        self.model_accepts_loss_kwargs = False
        self.teacher = teacher
        if teacher is not None:
            refuse_incompatible("tune", distillation.weights, distillation.settings, self.model, teacher)
            teacher.eval().requires_grad_(requires_grad=False).to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the loss of a batch, a mean over its texts or labelled words."""
        stored = inputs.pop("teacher_logits", None)
        with self.accelerator.autocast():
            student = self._run(model, inputs)
            teacher = self._teach(inputs) if stored is None else Outputs(_NO_STATES, logits_NC=stored)
        loss = task_distillation_loss(self.distillation, student, teacher, inputs, self.part)
        return (loss, None) if return_outputs else loss

    @torch.no_grad()
    def _teach(self, inputs: dict[str, Tensor]) -> Outputs:
        if self.teacher is None:
            raise TypeError("a trainer without a teacher expects batches with teacher_logits")
        return self._run(self.teacher, inputs)

    def _run(self, model: Any, inputs: dict[str, Tensor]) -> Outputs:
        every_layer = "states" in self.distillation.looks_at
        with record_attention(model, enabled="attention" in self.distillation.looks_at) as recorded:
            given = {name: value for name, value in inputs.items() if name != "labels"}
            outputs = model(**given, output_hidden_states=every_layer)
        layers = tuple(outputs.hidden_states) if every_layer else ()
        return Outputs(
            collect_hidden_states(layers, recorded, model.config),
            logits_NC=outputs.logits[inputs["labels"] != IGNORED].float(),
        )
