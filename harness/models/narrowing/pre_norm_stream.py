"""The residual stream of a narrower pre-norm encoder, and embeddings whose norm's output lies in it.

A norm takes away the mean of what it reads and divides by the deviation. So a change of basis passes through
where its columns are orthonormal, and at right angles to the ones on both sides: of the S coordinates of the
student's stream a norm sees S − 1 directions.

Shapes: **D** hidden, **S** hidden of the narrower model, **V** vocabulary. All tensors are float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Stream(NamedTuple):
    """Both maps between the wide stream and the narrow one.

    Invariants: ``norm(wide)`` is ``norm(wide @ down_DS) @ up_SD`` where the basis holds the stream: the
    factors in the two maps keep the mean square of a row, so that what a norm adds to it counts the same.

    Attributes:
        down_DS: from the wide stream.
        up_SD: to the wide stream, without its mean.
        units_S: for each coordinate but the last two the wide one that it comes nearest to.
    """

    down_DS: Tensor
    up_SD: Tensor
    units_S: Tensor


def make_stream(basis_DS: Tensor) -> Stream:
    """Return the stream of a basis, its coordinates turned to come nearest to some of the wide stream's.

    Any rotation of the coordinates spans the same space. But tied embeddings are in these coordinates, and
    the units of the MLM head must fit them: so the coordinates are those that the teacher's units fit best.
    """
    hidden, width = basis_DS.shape
    basis_DS = basis_DS.double()
    directions_DC = torch.linalg.qr(basis_DS - basis_DS.mean(0)).Q[:, : width - 1]
    first_DC, last_D1 = directions_DC[:, :-1], directions_DC[:, -1:]
    coordinates_SC = _make_coordinates(width)
    turned_DC, units_S = turn_to_axes(first_DC, coordinates_SC[:-2, :-1])
    unit_DS = torch.cat([turned_DC, last_D1], dim=1) @ coordinates_SC.T
    factor = (width / hidden) ** 0.5
    return Stream(unit_DS * factor, unit_DS.T / factor, units_S)


def turn_to_axes(directions_DC: Tensor, coordinates_SC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the directions turned among themselves, and the wide stream's axes that they come nearest to.

    Args:
        directions_DC: orthonormal columns.
        coordinates_SC: the coordinates of the turned directions; as many axes as it has rows are chosen.
    """
    chosen_S = directions_DC.square().sum(1).topk(len(coordinates_SC)).indices.sort().values
    left_CC, _, right_CC = torch.linalg.svd(directions_DC[chosen_S].T @ coordinates_SC)
    return directions_DC @ left_CC @ right_CC, chosen_S


def _make_coordinates(width: int) -> Tensor:
    """Return S × (S − 1) orthonormal columns at right angles to the ones.

    The last two coordinates are equal in every column but the last, which is their difference.
    """
    difference_S = torch.zeros(width, dtype=torch.float64)
    difference_S[-2], difference_S[-1] = 1, -1
    ones_S, axes_SS = torch.ones_like(difference_S), torch.eye(width, dtype=torch.float64)
    columns_SS = torch.linalg.qr(torch.column_stack([ones_S, difference_S, axes_SS[:, :-2]])).Q
    return torch.cat([columns_SS[:, 2:], columns_SS[:, 1:2]], dim=1)


def narrow_embeddings(word_VD: Tensor, gain_D: Tensor, down_DS: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows V × S and the norm's gains S of the narrower embeddings.

    A norm makes all rows equally long, but the narrow rows have different lengths. So the last two
    coordinates of a row take up the length that it lacks and the mean that it must not have, and their gain
    is zero.

    Invariants: the norm's output is the wide norm's in the stream, but for the last direction. Each row has
    the wide row's mean and deviation, which a norm takes away, so that a tied decoder has them too.
    """
    word_VD, width = word_VD.double(), down_DS.shape[1]
    mean_V1 = word_VD.mean(1, keepdim=True)
    deviation_V1 = word_VD.std(1, unbiased=False, keepdim=True)
    normed_VD = (word_VD - mean_V1) / deviation_V1.clamp_min(torch.finfo(torch.float64).tiny)
    target_VS = (normed_VD * gain_D.double()) @ down_DS
    kept_VS = target_VS[:, :-2] - target_VS[:, -2:].mean(1, keepdim=True)
    sum_V1, square_V1 = kept_VS.sum(1, keepdim=True), kept_VS.square().sum(1, keepdim=True)
    gain = ((square_V1 + sum_V1.square() / 2) / width).max().sqrt()
    half_V1 = -sum_V1 / gain / 2
    lack_V1 = ((width - square_V1 / gain**2) / 2 - half_V1**2).clamp_min(0).sqrt()
    rows_VS = torch.cat([kept_VS / gain, half_V1 + lack_V1, half_V1 - lack_V1], dim=1)
    gain_S = torch.cat([gain.repeat(width - 2), gain.new_zeros(2)])
    return rows_VS * deviation_V1 + mean_V1, gain_S
