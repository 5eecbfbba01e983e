"""Losses between what two models attend to, and between the relations of their queries, keys and values.

Nothing is compared at padding: neither as the position that looks nor as one that is looked at.

Shapes: **B** batch, **H** heads, **L** length, **A** heads × head size, **S** head size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.hidden_states import HiddenStates
from harness.train.losses.hidden_states import Pairs


def score_mse(student: HiddenStates, teacher: HiddenStates, pairs: Pairs, mask_BL: Tensor) -> Tensor:
    """Gives the mean squared difference of attention before the softmax, q·k / √S.

    The mean is over pairs of positions, heads and layers. Source: Jiao et al. 2020, equation 7; their code
    counts padded pairs as zeros and sums over layers.
    """
    pair_B1LL = _pairs(mask_BL)
    losses = [
        _mean((_scores(student, one) - _scores(teacher, other)) ** 2, pair_B1LL) for one, other in pairs
    ]
    return torch.stack(losses).mean()


def map_mse(student: HiddenStates, teacher: HiddenStates, pairs: Pairs, mask_BL: Tensor) -> Tensor:
    """Gives the mean squared difference of attention after the softmax, over pairs, heads and layers.

    Source: Ansell et al. 2023 (BiStil), whose code likewise leaves out padded pairs.
    """
    pair_B1LL = _pairs(mask_BL)
    losses = [
        _mean(
            (
                _log_map(_scores(student, one), mask_BL).exp()
                - _log_map(_scores(teacher, other), mask_BL).exp()
            )
            ** 2,
            pair_B1LL,
        )
        for one, other in pairs
    ]
    return torch.stack(losses).mean()


def map_kl(student: HiddenStates, teacher: HiddenStates, pairs: Pairs, mask_BL: Tensor) -> Tensor:
    """Gives KL(teacher ‖ student) of what each position attends to, mean over positions, heads and layers.

    Source: Sun et al. 2020 (MobileBERT), attention transfer, summed there over layers.
    """
    losses = [_divergence(_scores(student, one), _scores(teacher, other), mask_BL) for one, other in pairs]
    return torch.stack(losses).mean()


def relation_kl(student_BLA: Tensor, teacher_BLA: Tensor, num_heads: int, mask_BL: Tensor) -> Tensor:
    """Gives KL(teacher ‖ student) of softmax(X·Xᵀ / √S), X being queries, keys or values in relation heads.

    The relation heads are as many in both models, whatever their own heads and widths. The mean is over
    relation heads and positions: 1/(A·|x|) of the paper.

    Source: Wang et al. 2021 (MiniLMv2), section 3.
    """
    return _divergence(_relate(student_BLA, num_heads), _relate(teacher_BLA, num_heads), mask_BL)


def _relate(vectors_BLA: Tensor, num_heads: int) -> Tensor:
    split_BHLS = _split(vectors_BLA, num_heads)
    return split_BHLS @ split_BHLS.transpose(-1, -2) / math.sqrt(split_BHLS.shape[-1])


def _split(vectors_BLA: Tensor, num_heads: int) -> Tensor:
    batch, length, _ = vectors_BLA.shape
    return vectors_BLA.float().reshape(batch, length, num_heads, -1).transpose(1, 2)


def _scores(model: HiddenStates, layer: int) -> Tensor:
    """Gives q·k / √S of a layer, counted from one; B × H × L × L."""
    queries_BHLS = _split(model.queries[layer - 1], model.num_heads)
    keys_BHLS = _split(model.keys[layer - 1], model.num_heads)
    return queries_BHLS @ keys_BHLS.transpose(-1, -2) / math.sqrt(queries_BHLS.shape[-1])


def _log_map(scores_BHLL: Tensor, mask_BL: Tensor) -> Tensor:
    """Gives the logarithm of the softmax over attended positions; at padding a very small number."""
    return functional.log_softmax(scores_BHLL.masked_fill(~mask_BL[:, None, None, :], -1e9), -1)


def _divergence(student_BHLL: Tensor, teacher_BHLL: Tensor, mask_BL: Tensor) -> Tensor:
    wanted_BHLL, got_BHLL = _log_map(teacher_BHLL, mask_BL), _log_map(student_BHLL, mask_BL)
    rows_BHL = (wanted_BHLL.exp() * (wanted_BHLL - got_BHLL)).sum(-1)
    return _mean(rows_BHL, mask_BL[:, None, :])


def _pairs(mask_BL: Tensor) -> Tensor:
    return (mask_BL[:, :, None] & mask_BL[:, None, :])[:, None]


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Gives the mean where chosen; ``chosen`` has size one along the heads. Over nothing it is zero."""
    count = chosen.sum() * values.shape[1]
    return values.masked_fill(~chosen, 0.0).sum() / count.clamp(min=1)
