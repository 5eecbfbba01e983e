"""Task distillation: a student learns a task from a teacher that was fine-tuned on it.

Shapes: **N** texts or labelled words, **C** classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from harness.models.hidden_states import collect_hidden_states, record_attention
from harness.train.losses import attention, hidden_states, task  # noqa: F401  their functions register
from harness.train.losses.compatibility import refuse_incompatible
from harness.train.losses.inputs import FUNCTIONS, LossInputs, Outputs
from harness.train.trainer import FiniteTrainer


@dataclass(frozen=True)
class TaskDistillation:
    """How a student learns a task from a teacher.

    Attributes:
        teacher: folder of the model fine-tuned on the task.
        weights: losses of `harness.config.losses.TASK_LOSSES` → their weights.
        temperature: τ of ``class_kl``.
        layers: which layers are compared where several are.
        kept_layers: the teacher's layers that the student begins with, besides its embeddings and head;
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

    def __str__(self) -> str:
        terms = [f"{weight:g}*{name}" for name, weight in sorted(self.weights.items())]
        temperature = f"@{self.temperature:g}" if self.temperature is not None else ""
        layers = f"/{self.layers}" if self.looks_at & {"states", "attention"} else ""
        return f"{'+'.join(terms)}{temperature}{layers}{'/tuned' if self.kept_layers else ''}"


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
    distillation: TaskDistillation, student: Outputs, teacher: Outputs, batch: Mapping[str, Tensor]
) -> Tensor:
    """Return the weighted sum of the losses.

    Args:
        distillation: the losses and their weights.
        student: gradients flow to it.
        teacher: of the same classes, and the same widths where hidden states are compared.
        batch: ``attention_mask`` (B × L) and ``labels`` (B, or B × L with −100 where a token has no label).
    """
    inputs = LossInputs(
        student=student,
        teacher=teacher,
        labels_N=batch["labels"][batch["labels"] != IGNORED],
        mask_BL=batch["attention_mask"].bool(),
        settings=distillation.settings,
    )
    terms = [weight * FUNCTIONS[name](inputs) for name, weight in distillation.weights.items()]
    return torch.stack(terms).sum()


class TaskDistillationTrainer(FiniteTrainer):
    """A trainer that compares its model with a teacher fine-tuned on the task.

    Args:
        distillation: what to minimise.
        teacher: the fine-tuned model; it is not trained.
        settings: of `transformers.Trainer`.

    Raises:
        HarnessError: a loss cannot compare the two models.
    """

    def __init__(self, *, distillation: TaskDistillation, teacher: nn.Module, **settings: Any) -> None:
        super().__init__(**settings)
        refuse_incompatible("tune", distillation.weights, distillation.settings, self.model, teacher)
        self.distillation = distillation
        self.model_accepts_loss_kwargs = False
        self.teacher = teacher.eval().requires_grad_(requires_grad=False).to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the loss of a batch, a mean over its texts or labelled words."""
        with self.accelerator.autocast():
            student = self._run(model, inputs)
            with torch.no_grad():
                teacher = self._run(self.teacher, inputs)
        loss = task_distillation_loss(self.distillation, student, teacher, inputs)
        return (loss, None) if return_outputs else loss

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
