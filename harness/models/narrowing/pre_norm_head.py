"""Fit the MLM head of a narrower pre-norm model to the wide model's logits.

Neither the head's dense layer nor its norm has a bias, so that it cannot be fitted as a linear map, as that
of a post-norm family is (`mlm_head`). It starts from the teacher's own units, those that the student's
coordinates come nearest to, and L-BFGS then improves the weights.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **V** vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from harness.models.families.layout import FamilyLayout
from harness.models.families.mlm_head import split_mlm_head
from harness.models.families.table import find_layout, is_tied
from harness.models.narrowing.activations import States, norm_eps
from harness.models.narrowing.least_squares import AffineFit, Regression, square_roots
from harness.models.narrowing.mlm_head import map_features, mean_probability, principal_directions
from harness.models.narrowing.pre_norm_stream import turn_to_axes

_READ_RIDGE = 1e-6
_STEPS = 100
_HISTORY = 30

Activation: TypeAlias = Callable[[Tensor], Tensor]


class _Target(NamedTuple):
    """What the head is fitted to.

    Attributes:
        rows_NS: the student's last states.
        features_NS: the features that make the logits nearest to the teacher's.
        metric_SS: makes a difference of features as long as that of the logits, each token weighed by its
            mean probability.
    """

    rows_NS: Tensor
    features_NS: Tensor
    metric_SS: Tensor


@torch.no_grad()
def fit_head(
    models: tuple[PreTrainedModel, PreTrainedModel],
    last: tuple[States, States],
    units_S: Tensor,
    loss_rows: States,
) -> None:
    """Replace the student's head, and its decoder where that is not tied.

    Args:
        models: the wide model, and the student, fitted but for its head.
        last: the last states of both.
        units_S: for each of the student's coordinates but the last two the nearest of the wide model's.
        loss_rows: for each batch a boolean N: the rows that count.
    """
    model, student = models
    layout, head = find_layout(model), split_mlm_head(model)
    wide_ND, rows_NS = (
        torch.cat([rows[kept_N] for rows, kept_N in zip(states, loss_rows, strict=True)]) for states in last
    )
    features_ND = head.transform(wide_ND)
    parts: Any = {name: student.get_submodule(path) for name, path in _list_paths(layout).items()}
    decoder_VS: Tensor = parts["decoder"].weight
    if not is_tied(model):
        directions_DS = principal_directions([features_ND], decoder_VS.shape[1])
        turned_DS, units_S = turn_to_axes(directions_DS, torch.eye(decoder_VS.shape[1]).to(directions_DS))
        decoder_VS.copy_(head.weight_VD @ turned_DS)
    bias_V: Tensor = parts["decoder"].bias
    probability_V = mean_probability([features_ND], head.weight_VD, bias_V)
    target = _Target(
        rows_NS,
        features_ND @ map_features(decoder_VS, head.weight_VD, probability_V).T,
        _measure_metric(decoder_VS, probability_V),
    )
    across = Regression(constant=False)
    across.add(rows_NS, wide_ND)
    wide_dense: Any = model.get_submodule(layout.head_dense)
    start_SS = torch.zeros_like(target.metric_SS)
    start_SS[: len(units_S)] = (wide_dense.weight @ across.solve(_READ_RIDGE).weight_YX)[units_S]
    weight_SS, gain_S = _fit(target, start_SS, _find_activation(model), norm_eps(model))
    parts["dense"].weight.copy_(weight_SS)
    parts["norm"].weight.copy_(gain_S)
    fitted_S = split_mlm_head(student).transform(rows_NS).mean(0)
    bias_V += head.weight_VD @ features_ND.mean(0) - decoder_VS @ fitted_S


def _list_paths(layout: FamilyLayout) -> dict[str, str]:
    return {"dense": layout.head_dense, "norm": layout.head_norm, "decoder": layout.decoder}


def _find_activation(model: PreTrainedModel) -> Activation:
    paths = find_layout(model).pre_norm
    assert paths is not None, "a pre-norm family has these paths"
    function: Activation = ACT2FN[getattr(model.config, paths.head_activation)]
    return function


def _measure_metric(decoder_VS: Tensor, probability_V: Tensor) -> Tensor:
    """Return the square root of the logits' product of features, without what is common to all logits."""
    centred_VS = decoder_VS - probability_V @ decoder_VS
    return square_roots(((centred_VS * probability_V[:, None]).T @ centred_VS).double())[0].to(decoder_VS)


def _fit(target: _Target, start_SS: Tensor, function: Activation, eps: float) -> tuple[Tensor, Tensor]:
    """Return the dense layer's weight and the norm's gains.

    The weight is fitted as a map of inputs without correlation, which takes far fewer steps.
    """
    root_SS, inverse_SS = (
        one.to(start_SS)
        for one in square_roots((target.rows_NS.T @ target.rows_NS).double() / len(target.rows_NS))
    )
    inputs_NS, target_NS = target.rows_NS @ inverse_SS, target.features_NS @ target.metric_SS
    scale = (target_NS - target_NS.mean(0)).square().mean()

    def norm(weight_SS: Tensor) -> Tensor:
        return layer_norm(function(inputs_NS @ weight_SS.T), weight_SS.shape[:1], eps=eps)

    fit = AffineFit()
    fit.add(norm(start_SS @ root_SS), target.features_NS)
    fitted = [start_SS @ root_SS, *(one.to(start_SS) for one in fit.solve())]
    weight_SS, gain_S, constant_S = (one.clone().requires_grad_() for one in fitted)
    optimizer = torch.optim.LBFGS(
        [weight_SS, gain_S, constant_S], max_iter=_STEPS, history_size=_HISTORY, line_search_fn="strong_wolfe"
    )

    def measure() -> Tensor:
        optimizer.zero_grad()
        features_NS = norm(weight_SS) * gain_S + constant_S
        error = (features_NS @ target.metric_SS - target_NS).square().mean() / scale
        error.backward()  # type: ignore[no-untyped-call]
        return error

    with torch.enable_grad():
        optimizer.step(measure)  # type: ignore[no-untyped-call]
    return weight_SS.detach() @ inverse_SS, gain_S.detach()
