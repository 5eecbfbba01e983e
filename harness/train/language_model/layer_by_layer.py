"""Train the layers of a student one after another, from the first to the last.

Source: Sun et al. 2020 (MobileBERT), progressive knowledge transfer: a layer learns while the layers below go
on at a small rate (0.1 in their ``distill_util.py``, where each layer has a warm-up of its own, too).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from harness.errors import HarnessError
from harness.models.families.table import find_layout


class LayerByLayer(TrainerCallback):  # type: ignore[misc]
    """Divide the steps evenly among the layers, and move what is below the learning layer a part of the way.

    The embeddings learn with the first layer, and are below every other. Layers above the learning one have
    no gradient, and no optimiser moves them.

    Invariants: as an optimiser's step is in proportion to the rate, a part of the way is a part of the rate.

    Args:
        student: whose layers are trained.
        below: the share of the rate for what is below the learning layer; 0 freezes it.
        warmup_fraction: share of a layer's steps in which its rate rises.
    """

    def __init__(self, student: Any, below: float, warmup_fraction: float) -> None:
        layout = find_layout(student)
        self.num_layers = int(student.config.num_hidden_layers)
        self._layers, self._below, self._warmup_fraction = f"{layout.layers}.", below, warmup_fraction
        self._embeddings = {
            name for name, _ in student.named_parameters() if layout.locate(name)[0] == "embeddings"
        }
        self._before: dict[str, Tensor] = {}

    def find_layer(self, step: int, num_steps: int) -> int:
        """Return the layer that learns in a step, counted from 1."""
        return 1 + min(step, num_steps - 1) * self.num_layers // num_steps

    def compute_rate(self, step: int, num_steps: int) -> float:
        """Return the share of the highest rate: for each layer it rises, and falls to zero."""
        layer = self.find_layer(step, num_steps)
        first, after = (-(-one * num_steps // self.num_layers) for one in (layer - 1, layer))
        done, length = min(step, num_steps - 1) - first, after - first
        warmup = int(self._warmup_fraction * length)
        return (done + 1) / (warmup + 1) if done < warmup else (length - done) / (length - warmup)

    def is_below(self, name: str, layer: int) -> bool:
        """Return whether a parameter is below a layer."""
        if name.startswith(self._layers):
            return int(name.removeprefix(self._layers).partition(".")[0]) < layer - 1
        return layer > 1 and name in self._embeddings

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Check that each layer has a step.

        Raises:
            HarnessError: there are fewer steps than layers.
        """
        if state.max_steps < self.num_layers:
            raise HarnessError(
                f"distill: expected a step or more for each of the {self.num_layers} layers that learn one "
                f"after another; got {state.max_steps} steps; raise tokens, or remove progressive"
            )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Keep the weights below the learning layer."""
        layer = self.find_layer(state.global_step, state.max_steps)
        self._before = {
            name: parameter.detach().clone()
            for name, parameter in given["model"].named_parameters()
            if parameter.grad is not None and self.is_below(name, layer)
        }

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Take back a part of the step of the weights below the learning layer."""
        for name, parameter in given["model"].named_parameters():
            if name in self._before:
                parameter.copy_(torch.lerp(self._before[name], parameter, self._below))
