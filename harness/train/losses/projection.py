"""The learned projection between a student and a teacher of different widths; it is no part of the student.

Shapes: **D** hidden of the student, **T** hidden of the teacher.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_NAME = "distillation_projection"


class _Projection(nn.Module):
    def __init__(self, weight_TD: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_TD)


@contextmanager
def learned_projection(student: nn.Module, teacher: nn.Module, seed: int) -> Iterator[None]:
    """Add to the student, for a while, a projection of its hidden states that is trained and saved with it.

    It begins as a random map with orthonormal columns (or rows), so that no state is stretched; TinyBERT's
    begins as any linear layer of BERT does.

    Invariants: afterwards the student has exactly the parameters it had before.
    """
    width_T, width_D = _width(teacher), _width(student)
    generator = torch.Generator().manual_seed(seed)
    weight_TD = nn.init.orthogonal_(torch.empty(width_T, width_D), generator=generator)
    student.add_module(_NAME, _Projection(weight_TD))
    try:
        yield
    finally:
        delattr(student, _NAME)


def _width(model: Any) -> int:
    return int(model.config.hidden_size)


def find_projection(student: nn.Module) -> Tensor | None:
    """Return the weight (T × D) of the projection that a student has, if any."""
    projection = getattr(student, _NAME, None)
    return None if projection is None else projection.weight
