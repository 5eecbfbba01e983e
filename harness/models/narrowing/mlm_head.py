"""Fit the MLM head of a narrower model to the wide model's logits.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **V** vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from harness.models.families.mlm_head import split_mlm_head
from harness.models.families.table import find_layout, is_tied
from harness.models.narrowing.activations import States, ffn_activation, norm_eps
from harness.models.narrowing.least_squares import AffineFit, Covariance, Linear, Regression

_RIDGE = 1e-4
_OFFSET = 3.0
"""In deviations of a unit: so far above zero a GELU passes its input on, and the dense layer can be any
linear map. The teacher's own units do not fit, as a tied decoder dictates the basis."""

_STEP = 8.0
"""In deviations of a unit, added twice to every second unit. The norm divides each row by its own deviation,
so that the size of the features is lost; a pattern that all rows share makes the divisor nearly the same for
all. On a teacher of 256 dimensions at half width, 0.32 nats are added without the pattern, 0.07 with it."""

_WEIGHED_ROWS = 512
_ROWS_AT_ONCE = 64


class _FittedTransform(NamedTuple):
    """The dense layer and the norm of a head, and the features that they give."""

    dense: Linear
    norm: Linear
    features: States


@torch.no_grad()
def fit_head(
    model: PreTrainedModel, word_VS: Tensor, teacher: States, student: States, loss_rows: States
) -> dict[str, Tensor]:
    """Return the parameters of the narrower model's head, by name.

    The decoder's rows are given: the narrow embeddings where they are tied, else the wide rows in the
    principal directions of the features. First the features are computed that make the logits nearest to the
    teacher's, each token weighed by its mean probability, where a constant added to all logits is free; then
    the dense layer and the norm are fitted that come nearest to these features from the student's stream.

    Args:
        model: the wide model.
        word_VS: the narrow word embeddings.
        teacher: the wide model's last states.
        student: the narrow model's last states.
        loss_rows: for each batch a boolean N: the rows that count.
    """
    layout, head = find_layout(model), split_mlm_head(model)
    features = [head.transform(rows_ND[kept_N]) for rows_ND, kept_N in zip(teacher, loss_rows, strict=True)]
    rows = [rows_NS[kept_N] for rows_NS, kept_N in zip(student, loss_rows, strict=True)]
    decoder_VS = (
        word_VS if is_tied(model) else head.weight_VD @ principal_directions(features, word_VS.shape[1])
    )
    bias_V = torch.zeros(len(word_VS)) if head.bias_V is None else head.bias_V
    probability_V = mean_probability(features, head.weight_VD, bias_V)
    map_SD = map_features(decoder_VS, head.weight_VD, probability_V)
    target = [features_ND @ map_SD.T for features_ND in features]
    fitted = _fit_transform(rows, target, ffn_activation(model), norm_eps(model))
    tensors = {
        f"{layout.head_dense}.weight": fitted.dense.weight_YX,
        f"{layout.head_dense}.bias": fitted.dense.bias_Y,
        f"{layout.head_norm}.weight": fitted.norm.weight_YX,
        f"{layout.head_norm}.bias": fitted.norm.bias_Y,
    }
    mean_D, fitted_mean_S = torch.cat(features).mean(0), torch.cat(fitted.features).mean(0)
    shift_V = head.weight_VD @ mean_D - decoder_VS @ fitted_mean_S
    for name, parameter in model.named_parameters():
        if layout.locate(name)[:2] == ("mlm_head", ("V",)):
            tensors[name] = parameter + shift_V
        if layout.locate(name)[:2] == ("mlm_head", ("V", "D")):
            tensors[name] = decoder_VS
    return tensors


def principal_directions(features: States, width: int) -> Tensor:
    """Return the orthonormal directions D × S in which features vary most."""
    sums = Covariance()
    for features_ND in features:
        sums.add(features_ND)
    vectors_DD: Tensor = torch.linalg.eigh(sums.covariance()).eigenvectors
    return vectors_DD.flip(1)[:, :width].to(features[0].dtype)


def mean_probability(features: States, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
    """Return the mean probability of each token over the first rows."""
    rows_ND = torch.cat(features)[:_WEIGHED_ROWS]
    sums = [
        (part_ND @ weight_VD.T + bias_V).softmax(-1).sum(0) for part_ND in torch.split(rows_ND, _ROWS_AT_ONCE)
    ]
    return torch.stack(sums).sum(0) / len(rows_ND)


def map_features(decoder_VS: Tensor, weight_VD: Tensor, probability_V: Tensor) -> Tensor:
    """Return the map S × D from the wide features to those with the nearest logits through the decoder."""
    narrow_VS = decoder_VS - probability_V @ decoder_VS
    wide_VD = weight_VD - probability_V @ weight_VD
    weighed_SV = (narrow_VS * probability_V[:, None]).T
    gram_SS, cross_SD = (weighed_SV @ narrow_VS).double(), (weighed_SV @ wide_VD).double()
    pull_SS = 1e-6 * gram_SS.diagonal().mean() * torch.eye(len(gram_SS), dtype=torch.float64)
    map_SD: Tensor = torch.linalg.solve(gram_SS + pull_SS, cross_SD).to(decoder_VS.dtype)
    return map_SD


def _offsets(width: int) -> Tensor:
    offsets_S = torch.full((width,), _OFFSET)
    offsets_S[::2] += 2 * _STEP
    return offsets_S


def _fit_transform(rows: States, target: States, function: Any, eps: float) -> _FittedTransform:
    target_NS = torch.cat(target)
    mean_S, deviation_S = target_NS.mean(0), target_NS.std(0).clamp_min(1e-6)
    regression = Regression()
    for rows_NS, part_NS in zip(rows, target, strict=True):
        regression.add(rows_NS, (part_NS - mean_S) / deviation_S)
    dense = regression.solve(_RIDGE)
    dense = Linear(dense.weight_YX, dense.bias_Y + _offsets(len(mean_S)))
    fit, normed = AffineFit(), []
    for rows_NS, part_NS in zip(rows, target, strict=True):
        normed.append(layer_norm(function(dense(rows_NS)), mean_S.shape, eps=eps))
        fit.add(normed[-1], part_NS)
    norm = Linear(*fit.solve())
    return _FittedTransform(dense, norm, [part_NS * norm.weight_YX + norm.bias_Y for part_NS in normed])
