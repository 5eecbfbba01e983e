"""Static embeddings distilled from an encoder: a vector for each token on its own, as model2vec does.

Shapes: **V** vocabulary, **B** batch, **D** width of the vectors, **N** vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.models.loading.tokenizer import count_ids

Vectors = NDArray[np.float32]
_BATCH = 1024


@torch.no_grad()
def distil_static(model: nn.Module, tokenizer: Any, width: int) -> Vectors:
    """Return a vector for each token id: the encoder's state of the token between the two special tokens.

    Invariants: V rows in the order of the ids; the columns are the ``width`` first principal components of
    the vectors of all tokens (all, where the encoder is narrower), each centred.

    Args:
        model: an MLM model or an encoder.
        tokenizer: the model's own.
        width: the most columns.
    """
    encoder: Any = getattr(model, "base_model", model)
    encoder.eval()
    device = next(encoder.parameters()).device
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    vectors, num_ids = [], count_ids(tokenizer)
    for start in range(0, num_ids, _BATCH):
        ids_B = torch.arange(start, min(start + _BATCH, num_ids))
        ends = [torch.full_like(ids_B, int(token)) for token in (first, last)]
        ids_B3 = torch.stack([ends[0], ids_B, ends[1]], dim=1).to(device)
        states = encoder(input_ids=ids_B3, attention_mask=torch.ones_like(ids_B3)).last_hidden_state
        vectors.append(states[:, 1].float().cpu())
    return principal_components(torch.cat(vectors), width)


def principal_components(vectors_ND: torch.Tensor, width: int) -> Vectors:
    """Return the first principal components of vectors; the largest entry of each axis is positive."""
    centred_ND = vectors_ND.double() - vectors_ND.double().mean(dim=0)
    _, axes_DD = torch.linalg.eigh(centred_ND.T @ centred_ND)
    axes_D = axes_DD.flip(1)[:, :width]
    signs = axes_D.gather(0, axes_D.abs().argmax(dim=0, keepdim=True)).sign()
    kept: Vectors = (centred_ND @ (axes_D * signs)).float().numpy()
    return kept
