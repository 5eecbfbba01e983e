"""Losses between the attention of two models, and between relations of their queries, keys and values.

Nothing is compared at padding: neither as the position that attends nor as the position attended to.

Shapes: **B** batch, **H** heads, **L** length, **A** heads × head size, **S** head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.hidden_states import HiddenStates
from harness.train.losses.inputs import LossInputs, loss_function


@loss_function
def attention_score_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² of q·k / √S over pairs of positions, heads and layers.

    Source: Jiao et al. 2020 (TinyBERT), equation 7; their code counts padded pairs as zeros and sums over
    layers.
    """
    pair_B1LL = _pair_mask(inputs.mask_BL)
    return _average_layers(inputs, lambda student, teacher: _mean((student - teacher) ** 2, pair_B1LL))


@loss_function
def attention_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² of softmax(q·k / √S) over pairs, heads and layers.

    Source: Ansell et al. 2023 (BiStil), whose code likewise leaves out padded pairs.
    """
    mask_BL, pair_B1LL = inputs.mask_BL, _pair_mask(inputs.mask_BL)
    return _average_layers(
        inputs,
        lambda student, teacher: _mean(
            (_log_attention(student, mask_BL).exp() - _log_attention(teacher, mask_BL).exp()) ** 2, pair_B1LL
        ),
    )


@loss_function
def attention_kl(inputs: LossInputs) -> Tensor:
    """Compute KL(teacher ‖ student) of softmax(q·k / √S), mean over positions, heads and layers.

    Source: Sun et al. 2020 (MobileBERT), attention transfer, summed there over layers.
    """
    return _average_layers(inputs, lambda student, teacher: _divergence(student, teacher, inputs.mask_BL))


@loss_function
def relation_qq(inputs: LossInputs) -> Tensor:
    """Compute the relation loss of the last layers' queries, see `_relation_kl`."""
    student, teacher = inputs.states
    return _relation_kl(inputs, student.queries[-1], teacher.queries[-1])


@loss_function
def relation_kk(inputs: LossInputs) -> Tensor:
    """Compute the relation loss of the last layers' keys, see `_relation_kl`."""
    student, teacher = inputs.states
    return _relation_kl(inputs, student.keys[-1], teacher.keys[-1])


@loss_function
def relation_vv(inputs: LossInputs) -> Tensor:
    """Compute the relation loss of the last layers' values, see `_relation_kl`."""
    student, teacher = inputs.states
    return _relation_kl(inputs, student.values[-1], teacher.values[-1])


def _relation_kl(inputs: LossInputs, student_BLA: Tensor, teacher_BLA: Tensor) -> Tensor:
    """Compute KL(teacher ‖ student) of softmax(X·Xᵀ / √S), X being queries, keys or values in relation heads.

    The relation heads are as many in both models, whatever their own heads and widths. The mean is over
    relation heads and positions: 1/(A·|x|) of the paper.

    Source: Wang et al. 2021 (MiniLMv2), section 3.
    """
    split = inputs.settings.relation_split
    assert split is not None
    num_heads = inputs.states[1].num_heads * split
    return _divergence(_relate(student_BLA, num_heads), _relate(teacher_BLA, num_heads), inputs.mask_BL)


def _relate(vectors_BLA: Tensor, num_heads: int) -> Tensor:
    split_BHLS = _split(vectors_BLA, num_heads)
    return split_BHLS @ split_BHLS.transpose(-1, -2) / math.sqrt(split_BHLS.shape[-1])


def _split(vectors_BLA: Tensor, num_heads: int) -> Tensor:
    batch, length, _ = vectors_BLA.shape
    return vectors_BLA.float().reshape(batch, length, num_heads, -1).transpose(1, 2)


def _average_layers(inputs: LossInputs, compare: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Average over the compared layers a function of the two models' scores, B × H × L × L."""
    student, teacher = inputs.states
    losses = [compare(_scores(student, one), _scores(teacher, other)) for one, other in inputs.pairs]
    return torch.stack(losses).mean()


def _scores(states: HiddenStates, layer: int) -> Tensor:
    """Compute q·k / √S of a layer, counted from 1; B × H × L × L."""
    queries_BHLS = _split(states.queries[layer - 1], states.num_heads)
    keys_BHLS = _split(states.keys[layer - 1], states.num_heads)
    return queries_BHLS @ keys_BHLS.transpose(-1, -2) / math.sqrt(queries_BHLS.shape[-1])


def _log_attention(scores_BHLL: Tensor, mask_BL: Tensor) -> Tensor:
    """Compute the logarithm of the softmax over attended positions; at padding a very small number."""
    return functional.log_softmax(scores_BHLL.masked_fill(~mask_BL[:, None, None, :], -1e9), -1)


def _divergence(student_BHLL: Tensor, teacher_BHLL: Tensor, mask_BL: Tensor) -> Tensor:
    student_log_BHLL, teacher_log_BHLL = (
        _log_attention(scores_BHLL, mask_BL) for scores_BHLL in (student_BHLL, teacher_BHLL)
    )
    rows_BHL = (teacher_log_BHLL.exp() * (teacher_log_BHLL - student_log_BHLL)).sum(-1)
    return _mean(rows_BHL, mask_BL[:, None, :])


def _pair_mask(mask_BL: Tensor) -> Tensor:
    return (mask_BL[:, :, None] & mask_BL[:, None, :])[:, None]


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Average where chosen; ``chosen`` has size 1 along the heads. Over nothing the mean is zero."""
    count = chosen.sum() * values.shape[1]
    return values.masked_fill(~chosen, 0.0).sum() / count.clamp(min=1)
