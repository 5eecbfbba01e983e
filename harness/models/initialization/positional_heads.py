"""First weights of a teacher with which two heads of every layer attend to the tokens beside.

A post-norm encoder has to find out which position is next to which; until it does, it reads a text as a
bag of words. Here positions are sinusoids (Vaswani et al. 2017) in a subspace of their own, and a query
turned by one position's angle meets the key of the neighbour: the heads look sideways from the first step,
and all of it stays trainable. That useful structure can be written into first weights rather than learnt is
the idea of Trockman and Kolter 2023 ("Mimetic initialization of self-attention layers"); the form here is
this project's.

Shapes: **P** positions, **D** hidden, **K** head size, **F** frequencies (half the head size).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.models.families.table import find_layout

SHIFTS = (-1, 1)
"""Where the first heads of a layer look, in positions from their own."""

_GOLDEN = (
    math.sqrt(5) - 1
) / 2  # its multiples spread evenly over a circle, so no far position looks like the next
_SHARE = 0.4  # of a token's squared length after the first norm that tells its position
_PEAK = 9.0  # attention score of the neighbour; that of positions further off is near 0


def initialize_positional_heads(model: PreTrainedModel, seed: int) -> None:
    """Writes sinusoidal positions, and heads that look one token to the left and right, into a model.

    The word embeddings lose their part in the subspace of the positions (one head size wide) and are
    otherwise left as they are; so are all other heads, and what the two heads write.

    Holds: equal seeds give equal weights.

    Args:
        model: BERT or XLM-R with random weights, at least two heads, of an even size; changed in place.
        seed: of the subspace.
    """
    family, config = find_layout(model), model.config
    size = config.hidden_size // config.num_attention_heads
    generator = torch.Generator().manual_seed(seed)
    square_DD = torch.randn(config.hidden_size, config.hidden_size, generator=generator, dtype=torch.float64)
    basis_DK = torch.linalg.qr(square_DD).Q[:, :size].to(torch.float32)
    angles_F = math.pi * (torch.arange(1, size // 2 + 1) * _GOLDEN % 1)
    _write_positions(model, basis_DK, angles_F)
    gain = math.sqrt(_PEAK * math.sqrt(size) / (config.hidden_size * _SHARE))
    for layer in model.get_submodule(family.layers).children():
        query, key = layer.get_submodule(family.query), layer.get_submodule(family.key)
        for head, shift in enumerate(SHIFTS):
            rows = slice(head * size, (head + 1) * size)
            query.weight.data[rows] = gain * _turn(angles_F, shift) @ basis_DK.T
            key.weight.data[rows] = gain * basis_DK.T


def _write_positions(model: PreTrainedModel, basis_DK: Tensor, angles_F: Tensor) -> None:
    """Puts sinusoids of the right length in place of the positions; clears the words' part beside them."""
    words_VD = model.get_input_embeddings().weight.data
    words_VD -= words_VD @ basis_DK @ basis_DK.T
    positions_PD = model.base_model.embeddings.position_embeddings.weight.data
    turns_PF = torch.arange(len(positions_PD))[:, None] * angles_F
    waves_PK = torch.cat([turns_PF.cos(), turns_PF.sin()], 1) / math.sqrt(len(angles_F))
    length = words_VD.norm(dim=1).mean() * math.sqrt(_SHARE / (1 - _SHARE))
    positions_PD.copy_(length * waves_PK @ basis_DK.T)


def _turn(angles_F: Tensor, shift: int) -> Tensor:
    """Gives the K × K map from the wave of a position to the wave ``shift`` positions on."""
    cos_FF, sin_FF = torch.diag((angles_F * shift).cos()), torch.diag((angles_F * shift).sin())
    return torch.cat([torch.cat([cos_FF, -sin_FF], 1), torch.cat([sin_FF, cos_FF], 1)])
