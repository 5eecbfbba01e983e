"""Stack copies of each layer into a deeper model, which at first computes what the shallow one computes."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.models.families.layout import FamilyLayout
from harness.models.families.table import find_layout
from harness.models.loading.checkpoint import assemble_model


def stack_layers(model: PreTrainedModel, layers: int) -> PreTrainedModel:
    """Return a model of more layers: each layer is followed by copies of it that at first add nothing.

    Training a shallow model and stacking its layers costs a fraction of training the deep one from random
    weights (Gong et al. 2019, "Efficient training of BERT by progressively stacking"). A plain copy applied
    twice loses what was learnt, and a thin post-norm model of twelve layers does not learn it again; so the
    two output maps of a copy start at zero (Chen et al. 2016, "Net2Net": function-preserving initialisation).

    Invariants: the layers' order; the logits, where the norms are as they were initialised. A trained norm
    rescales what is normalised already, so that a copy keeps its input only nearly.

    Raises:
        HarnessError: the number is no multiple of the model's layers.
    """
    count = model.config.num_hidden_layers
    if layers < count or layers % count:
        raise HarnessError(
            f"stack: expected a multiple of the model's {count} layers; got {layers}; change it"
        )
    layout = find_layout(model)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors |= _copy_tensor(layout, name, parameter.detach(), layers // count)
    return assemble_model(layout, config, tensors)


def _copy_tensor(layout: FamilyLayout, name: str, tensor: Tensor, times: int) -> Mapping[str, Tensor]:
    """Return the copies of a tensor under their names in the deeper model."""
    _, axes, layer = layout.locate(name)
    if layer is None:
        return {name: tensor.clone()}
    old = f"{layout.layers}.{layer}."
    names = [name.replace(old, f"{layout.layers}.{layer * times + place}.", 1) for place in range(times)]
    starts_at_zero = _writes_residual_stream(name, axes)
    return {
        copied: torch.zeros_like(tensor) if starts_at_zero and place else tensor.clone()
        for place, copied in enumerate(names)
    }


def _writes_residual_stream(name: str, axes: tuple[str, ...]) -> bool:
    """Say whether a layer's tensor belongs to a map whose result is added to the residual stream."""
    return axes[0] == "D" and "norm" not in name.lower()
