"""Losses of the vocabulary's logits: against the masked tokens, or against the logits of a teacher.

Shapes: **N** positions, **D** hidden, **T** hidden of the teacher, **V** vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from harness import ops
from harness.data.batches import IGNORED
from harness.models.families.layout import MlmHead
from harness.train.losses.inputs import LossInputs, loss_function

_ROWS = 1024  # of teacher logits held at once


@loss_function
def mlm(inputs: LossInputs) -> Tensor:
    """Compute the mean of −log p(token) over the masked positions.

    Source: Devlin et al. 2019, section 3.1.
    """
    features_ND, head = inputs.student.features_ND, inputs.student.head
    assert features_ND is not None
    assert head is not None
    masked_N = inputs.labels_N != IGNORED
    if not bool(masked_N.any()):
        return features_ND.sum() * 0.0
    return ops.linear_cross_entropy(
        features_ND[masked_N], head.weight_VD, inputs.labels_N[masked_N], bias=head.bias_V
    )


@loss_function
def logit_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² over positions and vocabulary.

    Source: Gurgurov et al. 2025.
    """
    student_ND, teacher_NT = inputs.features
    if len(student_ND) == 0:
        return student_ND.sum() * 0.0
    student, teacher = inputs.heads
    return ops.linear_mse_logits_loss(
        student_ND,
        student.weight_VD,
        teacher_NT,
        teacher.weight_VD,
        student_bias=student.bias_V,
        teacher_bias=teacher.bias_V,
        teacher_gram=inputs.gram,
    )


@loss_function
def logit_kl(inputs: LossInputs) -> Tensor:
    """Compute τ² · KL(teacher ‖ student) of softmax(logits / τ), mean over positions.

    Source: Hinton et al. 2015.
    """
    return _divergence(inputs)


@loss_function
def logit_ce(inputs: LossInputs) -> Tensor:
    """Compute the cross-entropy with softmax(teacher's logits / τ), mean over positions, without τ².

    It is the divergence plus the teacher's entropy, which has no gradient. Source: Jiao et al. 2020,
    equation 10.
    """
    temperature = inputs.settings.temperature
    assert temperature is not None
    _, teacher_NT = inputs.features
    return _divergence(inputs) / temperature**2 + _entropy(teacher_NT, inputs.heads[1], temperature)


def _divergence(inputs: LossInputs) -> Tensor:
    student_ND, teacher_NT = inputs.features
    if len(student_ND) == 0:
        return student_ND.sum() * 0.0
    assert inputs.settings.temperature is not None
    student, teacher = inputs.heads
    return ops.linear_distillation_loss(
        student_ND,
        student.weight_VD,
        teacher_NT,
        teacher.weight_VD,
        student_bias=student.bias_V,
        teacher_bias=teacher.bias_V,
        temperature=inputs.settings.temperature,
        soft_weight=1.0,
        hard_weight=0.0,
    )


@torch.no_grad()
def _entropy(features_ND: Tensor, head: MlmHead, temperature: float) -> Tensor:
    total = features_ND.new_zeros((), dtype=torch.float32)
    for rows_ND in torch.split(features_ND, _ROWS):
        logits_NV = functional.linear(rows_ND, head.weight_VD, head.bias_V).float() / temperature
        log_NV = functional.log_softmax(logits_NV, -1)
        total -= (log_NV.exp() * log_NV).sum()
    return total / max(1, len(features_ND))
