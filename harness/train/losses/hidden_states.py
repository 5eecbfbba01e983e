"""Losses between hidden states: of the last layer, of the embeddings, of many layers.

Shapes: **B** batch, **L** length, **N** positions, **D** hidden of the student, **T** hidden of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from harness import ops
from harness.train.losses.inputs import LossInputs, Outputs, loss_function


@loss_function
def hidden_cosine(inputs: LossInputs) -> Tensor:
    """Compute 1 − cos(student, teacher) of the last hidden states, mean over positions.

    Source: Sanh et al. 2019 (DistilBERT), section 2.
    """
    student_ND, teacher_NT = inputs.last
    return ops.hidden_state_loss(
        [student_ND], [teacher_NT], kind="cosine", projections=_repeat(inputs.projection_TD, 1)
    )


@loss_function
def centred_cosine(inputs: LossInputs) -> Tensor:
    """Compute 1 − cos(student − μ, teacher − μ) of the last hidden states, mean over positions.

    μ is the mean of the teacher's states over the batch's positions. The states of encoders share a direction
    (Ethayarajh 2019, "How contextual are contextualized word representations?"): without μ the loss compares
    what all positions share.
    """
    student_ND, teacher_NT = inputs.last
    return _compare_centred(
        _project(student_ND, inputs.projection_TD), teacher_NT.float(), inputs.means.get("centred_cosine")
    )


@loss_function
def sentence_cosine(inputs: LossInputs) -> Tensor:
    """Compute 1 − cos(student − μ, teacher − μ) of each row's mean last hidden state, mean over rows.

    A row's mean is over its attended positions, as sentence encoders pool (Reimers and Gurevych 2019); μ is
    the mean of the teacher's over the batch's rows.
    """
    student_BD, teacher_BT = (_pool(one.hidden_states[-1], inputs.mask_BL) for one in inputs.states)
    return _compare_centred(
        _project(student_BD, inputs.projection_TD), teacher_BT, inputs.means.get("sentence_cosine")
    )


def _pool(states_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Return each row's mean over its attended positions."""
    mask_BL1 = mask_BL.unsqueeze(-1)
    return (states_BLD.float() * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)


def _list_last_states(outputs: Outputs, _: Tensor) -> Tensor:
    assert outputs.last_ND is not None
    return outputs.last_ND.float()


CENTRED: Mapping[str, Callable[[Outputs, Tensor], Tensor]] = MappingProxyType(
    {
        "centred_cosine": _list_last_states,
        "sentence_cosine": lambda outputs, mask_BL: _pool(outputs.states.hidden_states[-1], mask_BL),
    }
)
"""Loss that subtracts the teacher's mean over the batch → the vectors that it is the mean of."""


def _project(states_ND: Tensor, projection_TD: Tensor | None) -> Tensor:
    states_ND = states_ND.float()
    return states_ND if projection_TD is None else functional.linear(states_ND, projection_TD.float())


def _compare_centred(student_NT: Tensor, teacher_NT: Tensor, mean_T: Tensor | None) -> Tensor:
    """Return the mean of 1 − cos of vectors less the teacher's mean, which may be that of a larger batch.

    For fewer than two vectors the mean is the vector itself, and the loss zero.
    """
    if mean_T is None and len(teacher_NT) < 2:
        return 0 * student_NT.sum()
    mean_T = teacher_NT.mean(0) if mean_T is None else mean_T
    return 1 - functional.cosine_similarity(student_NT - mean_T, teacher_NT - mean_T).mean()


@loss_function
def hidden_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² of the last hidden states over positions and dimensions."""
    student_ND, teacher_NT = inputs.last
    return ops.hidden_state_loss(
        [student_ND], [teacher_NT], kind="mse", projections=_repeat(inputs.projection_TD, 1)
    )


@loss_function
def embedding_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² after the embeddings over positions and dimensions.

    Source: Jiao et al. 2020 (TinyBERT), equation 9.
    """
    return _compare_layers(inputs, [(0, 0)])


@loss_function
def feature_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² over positions, dimensions and compared layers.

    One projection serves all layers, as in TinyBERT's code. Source: Jiao et al. 2020 (TinyBERT), equation 8;
    Sun et al. 2020 (MobileBERT), feature map transfer; both sum over layers.
    """
    return _compare_layers(inputs, inputs.pairs)


@loss_function
def patient(inputs: LossInputs) -> Tensor:
    """Compute the mean of (s/‖s‖ − t/‖t‖)² of the first position's states in the layers below the last.

    The mean is over rows, layers and dimensions, as the authors' code has it; their formula sums over rows
    and layers. Source: Sun et al. 2019 (Patient Knowledge Distillation), L_PT.
    """
    student, teacher = inputs.states
    losses = []
    for student_layer, teacher_layer in inputs.pairs[:-1]:
        student_BD = _project(student.hidden_states[student_layer][:, 0], inputs.projection_TD)
        teacher_BT = teacher.hidden_states[teacher_layer][:, 0].float()
        losses.append(
            functional.mse_loss(
                functional.normalize(student_BD, dim=-1), functional.normalize(teacher_BT, dim=-1)
            )
        )
    return torch.stack(losses).mean()


def _compare_layers(inputs: LossInputs, pairs: Sequence[tuple[int, int]]) -> Tensor:
    student, teacher = inputs.states
    return ops.hidden_state_loss(
        [student.hidden_states[layer].float() for layer, _ in pairs],
        [teacher.hidden_states[layer].float() for _, layer in pairs],
        inputs.mask_BL,
        kind="mse",
        projections=_repeat(inputs.projection_TD, len(pairs)),
    )


def _repeat(projection_TD: Tensor | None, times: int) -> list[Tensor] | None:
    return None if projection_TD is None else [projection_TD] * times
