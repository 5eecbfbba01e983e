"""The attention heads of a narrower model: which stay, and their maps, weighted by how the text uses them.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **H** heads, **K** head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.models.narrowing import activations
from harness.models.narrowing.activations import LayerActivations, States
from harness.models.narrowing.heads import narrow_queries_and_keys, narrow_values_and_outputs
from harness.models.narrowing.least_squares import (
    Covariance,
    Linear,
    append_bias,
    compose,
    split_bias,
    square_roots,
)


class HeadInputs(NamedTuple):
    """A layer of the wide model on the text, and the student's stream below it.

    Attributes:
        modules: the layer's modules by role.
        passes: the layer's activations, for each batch.
        student: the student's rows, for each batch.
        attended: which places of each batch are attended.
    """

    modules: Mapping[str, Any]
    passes: Sequence[LayerActivations]
    student: States
    attended: Sequence[Tensor]


class FittedHeads(NamedTuple):
    """The student's query, key and value maps, and a first estimate of the output map."""

    query: Linear
    key: Linear
    value: Linear
    out: Linear


class _HeadMaps(NamedTuple):
    """The maps of each head; those that read the stream have their bias as the last column."""

    query_HKS: Tensor
    key_HKS: Tensor
    value_HKS: Tensor
    out_HKS: Tensor


def fit_heads(
    inputs: HeadInputs, estimate: Linear, basis_DS: Tensor, heads: int, *, within: str
) -> FittedHeads:
    """Fit the query, key and value maps of a layer.

    Args:
        inputs: the layer on the text.
        estimate: the map from the student's stream to the teacher's.
        basis_DS: of the student's stream.
        heads: how many heads stay.
        within: ``svd`` (weighted by the text), or ``first`` dimensions of each head.
    """
    modules, whole = inputs.modules, inputs.passes[0].weights_BHLL.shape[1]
    width = basis_DS.shape[1]
    query_HKS, key_HKS, value_HKS = (
        append_bias(compose(modules[role], estimate)).view(whole, -1, width + 1)
        for role in ("query", "key", "value")
    )
    out_HKS = (basis_DS.T @ modules["attention_out"].weight).T.unflatten(0, (whole, -1))
    gain_D = modules["attention_norm"].weight
    kept = _highest_variance_heads(out_HKS, gain_D, basis_DS, heads, inputs.passes)
    maps = _HeadMaps(query_HKS[kept], key_HKS[kept], value_HKS[kept], out_HKS[kept])
    maps = _narrow(maps, width // heads, kept, gain_D @ basis_DS.square(), inputs=inputs, within=within)
    query, key, value = (split_bias(map_HKS.flatten(0, 1).float()) for map_HKS in maps[:3])
    weight_SA = maps.out_HKS.flatten(0, 1).T.float().contiguous()
    bias_S = modules["attention_out"].bias @ basis_DS
    return FittedHeads(query, key, value, Linear(weight_SA, bias_S))


def _highest_variance_heads(
    out_HKS: Tensor, gain_D: Tensor, basis_DS: Tensor, heads: int, passes: Sequence[LayerActivations]
) -> Tensor:
    """Return the heads to keep, in order: those whose output varies most on the text."""
    if heads == len(out_HKS):
        return torch.arange(heads)
    mixed = Covariance()
    for layer in passes:
        mixed.add(layer.mixed_NA)
    covariance_AA, size = mixed.covariance(), out_HKS.shape[1]
    starts = range(0, len(covariance_AA), size)
    blocks_HKK = torch.stack([covariance_AA[at : at + size, at : at + size] for at in starts])
    out_HKS = out_HKS.double() * (gain_D.double() @ basis_DS.double() ** 2)
    variance_H = (out_HKS * (blocks_HKK @ out_HKS)).sum((1, 2))
    return variance_H.argsort(descending=True)[:heads].sort().values


def _narrow(
    maps: _HeadMaps, size: int, kept: Tensor, gain_S: Tensor, *, inputs: HeadInputs, within: str
) -> _HeadMaps:
    """Return the heads with ``size`` dimensions each."""
    old = maps.query_HKS.shape[1]
    if size == old:
        return maps
    if within == "first":
        first = _HeadMaps(*(map_HKS[:, :size] for map_HKS in maps))
        return first._replace(query_HKS=first.query_HKS * (size / old) ** 0.5)
    rows = Covariance()
    for rows_NS in inputs.student:
        rows.add(rows_NS)
    roots = square_roots(rows.second_moment()), square_roots(rows.covariance())
    query_HKS, key_HKS = narrow_queries_and_keys(maps.query_HKS, maps.key_HKS, size, *roots)
    moment_HSS = _measure_value_inputs(kept, inputs)
    value_HKS, out_HKS = narrow_values_and_outputs(
        maps.value_HKS, maps.out_HKS, size, moment_HSS, gain_S.abs()
    )
    return _HeadMaps(query_HKS, key_HKS, value_HKS, out_HKS)


def _measure_value_inputs(kept: Tensor, inputs: HeadInputs) -> Tensor:
    """Return the second moment, with the constant, of the student's rows as each kept head mixes them."""
    sums = [Covariance() for _ in kept]
    for layer, rows_NS, attended_BL in zip(inputs.passes, inputs.student, inputs.attended, strict=True):
        mixed_NHS = activations.mix_rows(layer.weights_BHLL[:, kept], rows_NS, attended_BL)
        for head, head_sums in enumerate(sums):
            head_sums.add(mixed_NHS[:, head])
    return torch.stack([head_sums.second_moment() for head_sums in sums])
