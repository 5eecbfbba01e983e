"""Narrow every attention head to the best low-rank form of its products.

A head scores by ``(Wq x + bq)·(Wk y + bk)`` and writes ``Wo (Wv x + bv)``. Each is a product of two maps
through the head's dimensions, so its best form with fewer dimensions is given by the singular vectors of the
product (Eckart and Young): the order of the head's dimensions does not matter, and a head that uses few of
them loses nothing.

`narrow_heads` takes inputs to be equally likely in every direction, which real activations are not;
`narrow_queries_and_keys` and `narrow_values_and_outputs` weigh each direction by its share of the text.

Shapes: **H** heads, **D** hidden (plus one for the bias), **K** head size, **Y** outputs of the heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.models.families.layout import FamilyLayout
from harness.models.narrowing.least_squares import square_roots

Tensors = dict[str, Tensor]


def narrow_heads(layout: FamilyLayout, tensors: Tensors, layers: int, heads: int, size: int) -> Tensors:
    """Return the tensors with ``size`` dimensions in each head; the scores' divisor is accounted for.

    Invariants: a head whose products have rank ``size`` or less computes exactly what it computed.

    Args:
        layout: of the tensors' family.
        tensors: of the whole model, by name.
        layers: how many layers it has.
        heads: how many heads a layer has.
        size: the new head size.
    """
    narrowed = dict(tensors)
    for number in range(layers):
        paths = (layout.query, layout.key, layout.value, layout.attention_out)
        query, key, value, out = (f"{layout.layers}.{number}.{path}" for path in paths)
        query_HKD, key_HKD, value_HKD = (_split_heads(tensors, path, heads) for path in (query, key, value))
        old = query_HKD.shape[1]
        out_HKD = tensors[f"{out}.weight"].double().T.reshape(heads, old, -1)
        query_HKD, key_HKD = _factorize(query_HKD, key_HKD, size)
        out_HKD, value_HKD = _factorize(out_HKD, value_HKD, size)
        _join_heads(narrowed, query, query_HKD * (size / old) ** 0.5)
        _join_heads(narrowed, key, key_HKD)
        _join_heads(narrowed, value, value_HKD)
        weight = tensors[f"{out}.weight"]
        narrowed[f"{out}.weight"] = out_HKD.flatten(0, 1).T.to(weight.dtype).contiguous()
    return narrowed


def narrow_queries_and_keys(
    query_HKD: Tensor,
    key_HKD: Tensor,
    size: int,
    query_roots: tuple[Tensor, Tensor],
    key_roots: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the queries and keys of ``size`` dimensions with the nearest scores on text.

    A part of the score that is the same for all keys does not change the attention weights, so that keys need
    no bias and are weighed by their covariance alone. The scores' divisor is accounted for.

    Args:
        query_HKD: weight and bias of each head.
        key_HKD: likewise.
        size: the new head size.
        query_roots: root and inverse root of the inputs' second moment, with the constant.
        key_roots: root and inverse root of the inputs' covariance, without the constant.
    """
    query, key = _factorize(
        query_HKD.double() @ query_roots[0], key_HKD[..., :-1].double() @ key_roots[0], size
    )
    query = query @ query_roots[1] * (size / query_HKD.shape[1]) ** 0.5
    return query, torch.nn.functional.pad(key @ key_roots[1], (0, 1))


def narrow_values_and_outputs(
    value_HKD: Tensor, out_HKY: Tensor, size: int, moment_HDD: Tensor, gain_Y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the values and the output maps of ``size`` dimensions with the nearest outputs on text.

    Args:
        value_HKD: weight and bias of each head.
        out_HKY: output of each dimension of a head.
        size: the new head size.
        moment_HDD: second moment, with the constant, of the inputs as each head mixes them.
        gain_Y: the weight of an error in each output.
    """
    roots = [square_roots(moment_DD) for moment_DD in moment_HDD]
    root_HDD, inverse_HDD = (torch.stack(pair) for pair in zip(*roots, strict=True))
    value_HKD, out_HKY = value_HKD.double(), out_HKY.double()
    narrow_HKD = _factorize(out_HKY * gain_Y.double(), value_HKD @ root_HDD, size)[1] @ inverse_HDD
    product_HKK = narrow_HKD @ moment_HDD @ narrow_HKD.mT
    back_HKK = torch.linalg.solve(product_HKK, narrow_HKD @ moment_HDD @ value_HKD.mT)
    return narrow_HKD, back_HKK @ out_HKY


def _split_heads(tensors: Tensors, path: str, heads: int) -> Tensor:
    """Return weight and bias of each head as one matrix."""
    weight, bias = tensors[f"{path}.weight"], tensors[f"{path}.bias"]
    return torch.cat([weight, bias[:, None]], dim=1).double().view(heads, len(bias) // heads, -1)


def _join_heads(tensors: Tensors, path: str, map_HKD: Tensor) -> None:
    map_AD = map_HKD.flatten(0, 1).to(tensors[f"{path}.weight"].dtype)
    tensors[f"{path}.weight"] = map_AD[:, :-1].contiguous()
    tensors[f"{path}.bias"] = map_AD[:, -1].contiguous()


def _factorize(left_HKD: Tensor, right_HKD: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return for each head two maps of ``size`` dimensions with the product nearest to ``leftᵀ right``."""
    left_basis, left_core = torch.linalg.qr(left_HKD.mT)
    right_basis, right_core = torch.linalg.qr(right_HKD.mT)
    left_turn, strength_HK, right_turn = torch.linalg.svd(left_core @ right_core.mT)
    root_HK = strength_HK[:, None, :size].sqrt()
    left = left_basis @ (left_turn[..., :size] * root_HK)
    right = right_basis @ (right_turn.mT[..., :size] * root_HK)
    return left.mT, right.mT
