"""The size of a model: parameters and bytes of each part, counted on its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from transformers import PreTrainedModel

from harness.models.families.table import find_layout


class PartSize(NamedTuple):
    """The size of a part, or of a whole model."""

    parameters: int
    size_bytes: int


def count_parameters(model: PreTrainedModel) -> dict[str, PartSize]:
    """Return the size of each part: embeddings, attention, ffn, norms, mlm_head.

    Invariants: a tied tensor counts once, with the embeddings; the sum is that of ``model.parameters()``.
    """
    layout = find_layout(model)
    word = model.get_submodule(layout.word).weight
    parts = dict.fromkeys(layout.axes, PartSize(0, 0))
    for name, tensor in model.named_parameters():
        part = "embeddings" if tensor is word else layout.locate(name)[0]
        before = parts[part]
        size_bytes = tensor.numel() * tensor.element_size()
        parts[part] = PartSize(before.parameters + tensor.numel(), before.size_bytes + size_bytes)
    return parts


def sum_parts(parts: Mapping[str, PartSize]) -> PartSize:
    """Return the sum of the parts."""
    parameters = sum(part.parameters for part in parts.values())
    return PartSize(parameters, sum(part.size_bytes for part in parts.values()))
