"""Hidden states of spans: the pieces of text that a student's and a teacher's tokens both make up.

Shapes: **B** batch, **L** length, **W** spans of a row, **D** hidden.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.hidden_states import HiddenStates

Pooling = Literal["mean", "last"]


def mark_spans(spans_BL: Tensor) -> Tensor:
    """Return a boolean B × W, true at the spans of each row; a row's spans are numbered without a gap."""
    return torch.arange(int(spans_BL.max()) + 1, device=spans_BL.device) <= spans_BL.amax(1, keepdim=True)


def pool_spans(states: HiddenStates, spans_BL: Tensor, pooling: Pooling) -> HiddenStates:
    """Return hidden states whose positions are spans: the mean of a span's tokens, or its last token.

    Args:
        states: B × L × D, of each layer or the last.
        spans_BL: the span of each token, -1 at padding.
        pooling: how.
    """
    if pooling == "last":
        after_BL = functional.pad(spans_BL[:, 1:], (0, 1), value=-1)
        spans_BL = spans_BL.masked_fill(spans_BL == after_BL, -1)
    numbers_W1 = torch.arange(int(spans_BL.max()) + 1, device=spans_BL.device)[:, None]
    members_BWL = (spans_BL[:, None] == numbers_W1).float()
    shares_BWL = members_BWL / members_BWL.sum(-1, keepdim=True).clamp(min=1)
    with torch.autocast(spans_BL.device.type, enabled=False):
        pooled = tuple(shares_BWL @ states_BLD.float() for states_BLD in states.hidden_states)
    return replace(states, hidden_states=pooled)
