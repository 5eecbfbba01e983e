"""Sparse fine-tuning: train all weights, then start again and train only the weights that moved most.

Source: Ansell, Ponti, Korhonen, Vulić 2022 (lottery-ticket sparse fine-tuning), section 2.1; the head is
trained whole both times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from harness.train.finetuning.adapters import HEAD_NAMES


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of a model's parameters by name; tied ones once."""
    return {name: parameter.detach().cpu().clone() for name, parameter in model.named_parameters()}


def copy_encoder_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of a task model's parameters except those of its head."""
    weights = copy_weights(model)
    return {name: value for name, value in weights.items() if {*name.split(".")}.isdisjoint(HEAD_NAMES)}


def choose_most_moved(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], density: float
) -> dict[str, Tensor]:
    """Return masks of the weights that moved most, over all parameters together.

    Invariants: the density's share of the weights is chosen, at least one weight.

    Args:
        before: parameters by name.
        after: the same parameters after training.
        density: share of all weights.
    """
    moved = torch.cat([(after[name] - value).abs().flatten() for name, value in before.items()])
    number = max(1, round(density * len(moved)))
    chosen = torch.zeros(len(moved), dtype=torch.bool).index_fill(0, moved.topk(number).indices, value=True)
    parts = torch.split(chosen, [value.numel() for value in before.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(before.items(), parts, strict=True)}


class SparseUpdate(TrainerCallback):  # type: ignore[misc]
    """Reset, after every optimiser step, the weights that were not chosen.

    Args:
        start: of the weights that may be reset, the values before any training.
        chosen: masks of the weights that may move.
    """

    def __init__(self, start: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> None:
        self.start = start
        self.chosen = chosen

    @property
    def num_weights(self) -> int:
        """Number of the weights that are trained or reset."""
        return sum(value.numel() for value in self.start.values())

    @property
    def num_chosen(self) -> int:
        """Number of them that may move."""
        return sum(int(mask.sum()) for mask in self.chosen.values())

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:  # noqa: ARG002
        """Reset the weights before another callback reads them."""
        for name, parameter in model.named_parameters():
            if name in self.start:
                kept = self.chosen[name].to(parameter.device)
                parameter.copy_(torch.where(kept, parameter, self.start[name].to(parameter.device)))
        return control
