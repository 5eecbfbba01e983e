"""What a loss function is given, and the register of the functions.

Shapes: **B** batch, **L** length, **N** chosen positions of a corpus, or texts or labelled words of a task,
**D** hidden, **T** hidden of the teacher, **C** classes, **V** vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from harness.config.losses import LossSettings, match_layers
from harness.models.families.layout import MlmHead
from harness.models.hidden_states import HiddenStates
from harness.ops import TeacherGram

Function = TypeVar("Function", bound=Callable[..., Tensor])

FUNCTIONS: dict[str, Callable[[LossInputs], Tensor]] = {}
"""Name of a row of `harness.config.losses.LOSSES` → its function."""


def loss_function(function: Function) -> Function:
    """Register a function as the loss that has its name in `harness.config.losses`."""
    FUNCTIONS[function.__name__] = function
    return function


@dataclass(frozen=True)
class Outputs:
    """The outputs of one model on a batch, as far as the losses need them.

    Attributes:
        states: hidden states after the embeddings and each layer, and attention.
        last_ND: last hidden states at the chosen positions of a corpus.
        features_ND: the same after the dense layer and norm of the MLM head.
        head: the MLM head.
        logits_NC: of a task's classes.
    """

    states: HiddenStates
    last_ND: Tensor | None = None
    features_ND: Tensor | None = None
    head: MlmHead | None = None
    logits_NC: Tensor | None = None


@dataclass(frozen=True)
class LossInputs:
    """A batch as student and teacher see it.

    Attributes:
        student: gradients flow to it.
        teacher: absent where no loss compares.
        labels_N: of the chosen positions (−100 where a position has none), texts or labelled words.
        mask_BL: true at attended positions.
        settings: of the step.
        compared_N: at which of the chosen positions logits are compared.
        projection_TD: the learned projection, if any.
        gram: WᵀW of the teacher's vocabulary projection, if formed already.
        means: of the teacher's vectors over the larger batch that this one is a part of, by loss.
        only_layer: of the student's layers the one that is compared, counted from 1; None: all.
    """

    student: Outputs
    teacher: Outputs | None
    labels_N: Tensor
    mask_BL: Tensor
    settings: LossSettings
    compared_N: Tensor | None = None
    projection_TD: Tensor | None = None
    gram: TeacherGram | None = None
    means: Mapping[str, Tensor] = field(default_factory=dict)
    only_layer: int | None = None

    @property
    def states(self) -> tuple[HiddenStates, HiddenStates]:
        """Hidden states and attention of student and teacher."""
        assert self.teacher is not None
        return self.student.states, self.teacher.states

    @property
    def last(self) -> tuple[Tensor, Tensor]:
        """Last hidden states of student (N × D) and teacher (N × T) at the chosen positions."""
        assert self.teacher is not None
        assert self.student.last_ND is not None
        assert self.teacher.last_ND is not None
        return self.student.last_ND, self.teacher.last_ND

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Inputs of the vocabulary projections of student and teacher where logits are compared."""
        assert self.teacher is not None
        assert self.compared_N is not None
        student_ND, teacher_NT = self.student.features_ND, self.teacher.features_ND
        assert student_ND is not None
        assert teacher_NT is not None
        if bool(self.compared_N.all()):
            return student_ND, teacher_NT
        return student_ND[self.compared_N], teacher_NT[self.compared_N]

    @property
    def heads(self) -> tuple[MlmHead, MlmHead]:
        """MLM heads of student and teacher."""
        assert self.teacher is not None
        assert self.student.head is not None
        assert self.teacher.head is not None
        return self.student.head, self.teacher.head

    @property
    def classes(self) -> tuple[Tensor, Tensor]:
        """Logits of a task from student and teacher, N × C."""
        assert self.teacher is not None
        assert self.student.logits_NC is not None
        assert self.teacher.logits_NC is not None
        return self.student.logits_NC, self.teacher.logits_NC

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Which layer of the student is compared with which of the teacher, counted from 1."""
        pairs = match_layers(self.settings.layers or "uniform", *map(_depth, self.states))
        return pairs if self.only_layer is None else [pairs[self.only_layer - 1]]


def _depth(states: HiddenStates) -> int:
    return max(len(states.hidden_states) - 1, len(states.queries))
