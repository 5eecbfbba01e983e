"""The MLM head in two halves: the transform of hidden states, and the projection to the vocabulary."""

from __future__ import annotations

from typing import Any

from torch import nn

from harness.errors import unknown
from harness.models.families.layout import MlmHead
from harness.models.families.table import LAYOUTS


def split_mlm_head(model: nn.Module) -> MlmHead:
    """Return the two halves of a model's MLM head.

    Invariants: the model's own logits are exactly the composition of the halves.

    Raises:
        UsageError: the head of this family is not in the table.
    """
    config: Any = model.config
    if config.model_type not in LAYOUTS:
        raise unknown("masked-language head of model type", config.model_type, LAYOUTS)
    return LAYOUTS[config.model_type].split_head(model)
