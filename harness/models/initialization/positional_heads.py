"""Initialise a teacher so that two heads of every layer attend to the neighbouring tokens.

A post-norm encoder has to learn which positions are neighbours; until it does, it reads a text as a bag of
words. Here positions are sinusoids (Vaswani et al. 2017) in a subspace of their own, and a query that is
rotated by one position's angle matches the key of the neighbour: the heads attend sideways from the first
step, and all of it stays trainable. Writing useful structure into initial weights instead of learning it is
the idea of Trockman and Kolter 2023 ("Mimetic initialization of self-attention layers"); the form is this
project's.

Shapes: **P** positions, **D** hidden, **K** head size, **F** frequencies (half the head size).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.models.families.table import find_layout

OFFSETS = (-1, 1)
"""The place that each of the first heads attends to, in positions from its own."""

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
"""Its multiples spread evenly over a circle, so that no distant position resembles the neighbour."""

_POSITION_FRACTION = 0.4
"""The share of a token's squared length after the first norm that encodes its position."""

_NEIGHBOUR_SCORE = 9.0
"""The attention score of the neighbour; that of more distant positions is near 0."""


def initialize_positional_heads(model: PreTrainedModel, seed: int) -> None:
    """Write sinusoidal positions, and heads that attend one token to the left and to the right, into a model.

    The word embeddings lose their part in the subspace of the positions (one head size wide) and otherwise
    stay as they are, as do all other heads and the outputs of the two.

    Invariants: equal seeds give equal weights.

    Args:
        model: BERT or XLM-R with random weights, at least two heads, of an even size; changed in place.
        seed: of the subspace.
    """
    layout, config = find_layout(model), model.config
    size = config.hidden_size // config.num_attention_heads
    generator = torch.Generator().manual_seed(seed)
    square_DD = torch.randn(config.hidden_size, config.hidden_size, generator=generator, dtype=torch.float64)
    basis_DK = torch.linalg.qr(square_DD).Q[:, :size].to(torch.float32)
    angles_F = math.pi * (torch.arange(1, size // 2 + 1) * _GOLDEN_RATIO % 1)
    _write_positions(model, basis_DK, angles_F)
    gain = math.sqrt(_NEIGHBOUR_SCORE * math.sqrt(size) / (config.hidden_size * _POSITION_FRACTION))
    for layer in model.get_submodule(layout.layers).children():
        query, key = layer.get_submodule(layout.query), layer.get_submodule(layout.key)
        for head, offset in enumerate(OFFSETS):
            rows = slice(head * size, (head + 1) * size)
            query.weight.data[rows] = gain * _rotation(angles_F, offset) @ basis_DK.T
            key.weight.data[rows] = gain * basis_DK.T


def _write_positions(model: PreTrainedModel, basis_DK: Tensor, angles_F: Tensor) -> None:
    """Replace the positions by sinusoids, and remove the words' part in their subspace."""
    words_VD = model.get_input_embeddings().weight.data
    words_VD -= words_VD @ basis_DK @ basis_DK.T
    positions_PD = model.base_model.embeddings.position_embeddings.weight.data
    phases_PF = torch.arange(len(positions_PD))[:, None] * angles_F
    waves_PK = torch.cat([phases_PF.cos(), phases_PF.sin()], 1) / math.sqrt(len(angles_F))
    length = words_VD.norm(dim=1).mean() * math.sqrt(_POSITION_FRACTION / (1 - _POSITION_FRACTION))
    positions_PD.copy_(length * waves_PK @ basis_DK.T)


def _rotation(angles_F: Tensor, offset: int) -> Tensor:
    """Return the K × K map from a position's sinusoids to those of the position ``offset`` further on."""
    cos_FF, sin_FF = torch.diag((angles_F * offset).cos()), torch.diag((angles_F * offset).sin())
    return torch.cat([torch.cat([cos_FF, -sin_FF], 1), torch.cat([sin_FF, cos_FF], 1)])
