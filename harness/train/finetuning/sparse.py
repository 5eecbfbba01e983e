"""Sparse fine-tuning by the lottery ticket: train all weights, then those anew that moved most.

Source: Ansell, Ponti, Korhonen, Vulić 2022 (LT-SFT), section 2.1; the head is trained whole both times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from harness.train.finetuning.adapters import HEADS


def encoder_weights(model: nn.Module) -> dict[str, Tensor]:
    """Gives copies of a task model's parameters, those of its head left out."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if {*name.split(".")}.isdisjoint(HEADS)
    }


def choose(before: Mapping[str, Tensor], after: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """Gives masks of the places of some parameters that moved most, over all of them together.

    Holds: as many are chosen as the density says, one at least.

    Args:
        before: by name.
        after: the same names, trained.
        density: the share of all places.
    """
    moved = torch.cat([(after[name] - value).abs().flatten() for name, value in before.items()])
    number = max(1, round(density * len(moved)))
    chosen = torch.zeros(len(moved), dtype=torch.bool).index_fill(0, moved.topk(number).indices, value=True)
    parts = torch.split(chosen, [value.numel() for value in before.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(before.items(), parts, strict=True)}


class Ticket(TrainerCallback):  # type: ignore[misc]
    """Puts back, after every step of the optimiser, what was not chosen.

    Args:
        start: the encoder's weights before any training.
        chosen: the places that may move.
    """

    def __init__(self, start: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> None:
        self.start = start
        self.chosen = chosen

    @property
    def num_places(self) -> int:
        """Of the encoder."""
        return sum(value.numel() for value in self.start.values())

    @property
    def num_chosen(self) -> int:
        """Of them, those that may move."""
        return sum(int(mask.sum()) for mask in self.chosen.values())

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:  # noqa: ARG002
        """Runs before anything looks at the model's new weights."""
        for name, parameter in model.named_parameters():
            if name in self.start:
                kept = self.chosen[name].to(parameter.device)
                parameter.copy_(torch.where(kept, parameter, self.start[name].to(parameter.device)))
        return control
