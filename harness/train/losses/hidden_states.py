"""Losses between the hidden states of many layers.

Shapes: **B** batch, **L** length, **D** hidden of the student, **T** hidden of the teacher, **N** rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from harness import ops

Pairs = Sequence[tuple[int, int]]
"""Which layer of the student is compared with which of the teacher; 0 is after the embeddings."""


def feature_mse(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    pairs: Pairs,
    mask_BL: Tensor,
    bridge_TD: Tensor | None,
) -> Tensor:
    """Gives the mean squared difference of hidden states over positions, dimensions and compared layers.

    Source: Jiao et al. 2020, equations 8 and 9, which sum over layers; Sun et al. 2020 (MobileBERT), feature
    map transfer. One projection serves all layers, as in TinyBERT's code.
    """
    return ops.hidden_state_loss(
        [student[one].float() for one, _ in pairs],
        [teacher[other].float() for _, other in pairs],
        mask_BL,
        kind="mse",
        projections=None if bridge_TD is None else [bridge_TD] * len(pairs),
    )


def patient(
    student: Sequence[Tensor], teacher: Sequence[Tensor], pairs: Pairs, bridge_TD: Tensor | None
) -> Tensor:
    """Gives the mean squared difference of the first position's states, each scaled to length one.

    The last layer does not enter. The mean is over rows, layers and dimensions, as the authors' code has it;
    their formula sums over rows and layers.

    Source: Sun et al. 2019 (Patient Knowledge Distillation), L_PT.
    """
    losses = []
    for one, other in pairs[:-1]:
        student_BD, teacher_BT = student[one][:, 0].float(), teacher[other][:, 0].float()
        if bridge_TD is not None:
            student_BD = functional.linear(student_BD, bridge_TD.float())
        losses.append(
            functional.mse_loss(
                functional.normalize(student_BD, dim=-1), functional.normalize(teacher_BT, dim=-1)
            )
        )
    return torch.stack(losses).mean()
