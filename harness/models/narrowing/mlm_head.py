"""The masked-language head of a narrower model, fitted to the logits of the wide one.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **V** vocabulary.
"""

from __future__ import annotations

from typing import Any

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
"""In deviations of a unit: far enough above zero a GELU passes on what it gets. So the dense layer can give
any linear map; the teacher's own units do not fit, as a tied decoder dictates the basis."""

_STEP = 8.0
"""In deviations of a unit, twice it for every second unit. The norm divides each row by its own deviation,
which loses how large the features are; a pattern that all rows share makes it nearly the same for all. On a
teacher of 256 dimensions at half width, 0.32 nats are added without it, 0.07 with it."""

_WEIGHED_ROWS = 512
_ROWS_AT_ONCE = 64


@torch.no_grad()
def fit_head(
    model: PreTrainedModel, word_VS: Tensor, teacher: States, student: States, asked: States
) -> dict[str, Tensor]:
    """Gives the parameters of the head, by name.

    The decoder's rows are given: the narrow embeddings where they are tied, else the wide rows in the
    features' principal directions. First, what the features should be so that the logits are nearest the
    teacher's, each token weighed by its mean probability and a constant added to all being free; then the
    dense layer and the norm that come nearest to it from the student's stream.

    Args:
        model: the wide model.
        word_VS: the narrow word embeddings.
        teacher: the wide model's last states.
        student: the narrow model's.
        asked: which rows count.
    """
    family, eps = find_layout(model), norm_eps(model)
    head = split_mlm_head(model)
    features = [head.transform(rows_ND[kept_N]) for rows_ND, kept_N in zip(teacher, asked, strict=True)]
    rows = [rows_NS[kept_N] for rows_NS, kept_N in zip(student, asked, strict=True)]
    decoder_VS = word_VS if is_tied(model) else head.weight_VD @ _principal(features, word_VS.shape[1])
    bias_V = torch.zeros(len(word_VS)) if head.bias_V is None else head.bias_V
    share_V = _mean_probability(features, head.weight_VD, bias_V)
    aim_SD = _aim(decoder_VS, head.weight_VD, share_V)
    wanted = [features_ND @ aim_SD.T for features_ND in features]
    dense, norm, given = _fit(rows, wanted, ffn_activation(model), eps)
    found = {
        f"{family.head_dense}.weight": dense.weight_YX,
        f"{family.head_dense}.bias": dense.bias_Y,
        f"{family.head_norm}.weight": norm.weight_YX,
        f"{family.head_norm}.bias": norm.bias_Y,
    }
    shift_V = head.weight_VD @ torch.cat(features).mean(0) - decoder_VS @ torch.cat(given).mean(0)
    for name, parameter in model.named_parameters():
        if family.locate(name)[:2] == ("mlm_head", ("V",)):
            found[name] = parameter + shift_V
        if family.locate(name)[:2] == ("mlm_head", ("V", "D")):
            found[name] = decoder_VS
    return found


def _principal(features: States, width: int) -> Tensor:
    spread = Covariance()
    for features_ND in features:
        spread.add(features_ND)
    vectors_DD: Tensor = torch.linalg.eigh(spread.covariance()).eigenvectors
    return vectors_DD.flip(1)[:, :width].float()


def _mean_probability(features: States, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
    rows_ND = torch.cat(features)[:_WEIGHED_ROWS]
    pieces = torch.split(rows_ND, _ROWS_AT_ONCE)
    parts = [(one_ND @ weight_VD.T + bias_V).softmax(-1).sum(0) for one_ND in pieces]
    return torch.stack(parts).sum(0) / len(rows_ND)


def _aim(decoder_VS: Tensor, weight_VD: Tensor, share_V: Tensor) -> Tensor:
    """Gives the map S × D from the wide features to those that say nearest the same through the decoder."""
    narrow_VS = decoder_VS - share_V @ decoder_VS
    wide_VD = weight_VD - share_V @ weight_VD
    weighed_SV = (narrow_VS * share_V[:, None]).T
    gram_SS, cross_SD = (weighed_SV @ narrow_VS).double(), (weighed_SV @ wide_VD).double()
    pull_SS = 1e-6 * gram_SS.diagonal().mean() * torch.eye(len(gram_SS), dtype=torch.float64)
    aim_SD: Tensor = torch.linalg.solve(gram_SS + pull_SS, cross_SD).float()
    return aim_SD


def _offsets(width: int) -> Tensor:
    offsets_S = torch.full((width,), _OFFSET)
    offsets_S[::2] += 2 * _STEP
    return offsets_S


def _fit(rows: States, wanted: States, function: Any, eps: float) -> tuple[Linear, Linear, States]:
    """Gives dense layer and norm, and what they give."""
    wanted_NS = torch.cat(wanted)
    mean_S, deviation_S = wanted_NS.mean(0), wanted_NS.std(0).clamp_min(1e-6)
    regression = Regression()
    for rows_NS, one_NS in zip(rows, wanted, strict=True):
        regression.add(rows_NS, (one_NS - mean_S) / deviation_S)
    dense = regression.solve(_RIDGE)
    dense = Linear(dense.weight_YX, dense.bias_Y + _offsets(len(mean_S)))
    gain, normed = AffineFit(), []
    for rows_NS, one_NS in zip(rows, wanted, strict=True):
        normed.append(layer_norm(function(dense(rows_NS)), mean_S.shape, eps=eps))
        gain.add(normed[-1], one_NS)
    norm = Linear(*gain.solve())
    return dense, norm, [one_NS * norm.weight_YX + norm.bias_Y for one_NS in normed]
