"""What a model weighs: parameters and bytes by part, counted on the tensors themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from transformers import PreTrainedModel

from harness.models.families.lookup import family_of


class Weight(NamedTuple):
    """How much one part, or a whole model, holds."""

    parameters: int
    size_bytes: int


def count(model: PreTrainedModel) -> dict[str, Weight]:
    """Gives the weight of each part: embeddings, attention, ffn, norms, mlm_head.

    Holds: a tied tensor counts once, with the embeddings; the sum is that of ``model.parameters()``.
    """
    family = family_of(model)
    word = model.get_submodule(family.word).weight
    parts = dict.fromkeys(family.axes, Weight(0, 0))
    for name, tensor in model.named_parameters():
        part = "embeddings" if tensor is word else family.locate(name)[0]
        before = parts[part]
        size_bytes = tensor.numel() * tensor.element_size()
        parts[part] = Weight(before.parameters + tensor.numel(), before.size_bytes + size_bytes)
    return parts


def total(parts: Mapping[str, Weight]) -> Weight:
    """Gives the sum of the parts."""
    parameters = sum(part.parameters for part in parts.values())
    return Weight(parameters, sum(part.size_bytes for part in parts.values()))
