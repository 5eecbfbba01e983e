"""A deeper model out of a shallow one, which at first says what the shallow one says."""

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
    """Gives a model of more layers: each layer is followed by copies of it that at first add nothing.

    Training a shallow model and deepening it costs a fraction of training the deep one from random weights
    (Gong et al. 2019, "Efficient training of BERT by progressively stacking"). A plain copy applied twice
    loses what was learned, and a thin post-norm model of twelve layers does not find it again; so the two
    output maps of a copy start at zero (Chen et al. 2016, "Net2Net": growth that preserves the function).

    Holds: the layers' order; where the norms are as they were drawn, the logits. A trained norm rescales what
    is normalised already, so that a copy passes it on only nearly.

    Raises:
        HarnessError: the number asked for is no multiple of the number of layers there are.
    """
    count = model.config.num_hidden_layers
    if layers < count or layers % count:
        raise HarnessError(
            f"deepen: wanted a multiple of the {count} layers there are; got {layers}; change it"
        )
    family = find_layout(model)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors |= _copies(family, name, parameter.detach(), layers // count)
    return assemble_model(family, config, tensors)


def _copies(family: FamilyLayout, name: str, tensor: Tensor, times: int) -> Mapping[str, Tensor]:
    """Gives a tensor under each name it has in the deeper model."""
    _, axes, layer = family.locate(name)
    if layer is None:
        return {name: tensor.clone()}
    old = f"{family.layers}.{layer}."
    names = [name.replace(old, f"{family.layers}.{layer * times + place}.", 1) for place in range(times)]
    writes = _writes_to_the_stream(name, axes)
    return {
        one: torch.zeros_like(tensor) if writes and place else tensor.clone()
        for place, one in enumerate(names)
    }


def _writes_to_the_stream(name: str, axes: tuple[str, ...]) -> bool:
    """Says whether a layer's tensor belongs to a map whose result is added to the residual stream."""
    return axes[0] == "D" and "norm" not in name.lower()
