"""What a row of the table of families says: where each part of an encoder lives, what each axis means.

Surgery is one operation, "keep these indices of axis X"; a new family is a new row of `family_table`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from harness.errors import HarnessError

_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class FamilyLayout:
    """One row of the table.

    Attributes:
        model_type: what ``config.json`` calls the family.
        model_class: the stock class with an MLM head.
        config_class: its configuration.
        axes: part → module → axes of its weight, a bias having the first of them; ``#`` is a layer number.
        layers: path of the list of layers.
        word: path of the word embeddings.
        decoder: path of the layer that gives the logits.
        query: path of the query projection within a layer; likewise ``key``, ``value`` and ``attention_out``.
        residual: paths of what writes the residual stream: the first within the model, the others in a layer.
        ffn_in: path, within a layer, of the map that makes the FFN's activations, before the function.
        ffn_out: path, within a layer, of the map that reads the FFN's activations.
        head_dense: path of the dense layer of the MLM head.
        head_norm: path of its norm.
        activation: what the configuration calls the FFN's function.
        post_norm: whether a norm stands after each sublayer's sum, as in BERT.
        rotary: whether a head's dimensions are turned in pairs by position, so that no head can be narrowed.
        first_layer_lacks_norm: whether layer 0 is made otherwise than the rest and must stay the first.
        fixed: settings of a fresh configuration that no shape speaks of.
    """

    model_type: str
    model_class: type[PreTrainedModel]
    config_class: type[PretrainedConfig]
    axes: Mapping[str, Mapping[str, str]]
    layers: str
    word: str
    decoder: str
    query: str
    key: str
    value: str
    attention_out: str
    residual: tuple[str, ...]
    ffn_in: str
    ffn_out: str
    head_dense: str
    head_norm: str
    activation: str = "hidden_act"
    post_norm: bool = True
    rotary: bool = False
    first_layer_lacks_norm: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def locate(self, parameter: str) -> tuple[str, tuple[str, ...], int | None]:
        """Gives the part, the axes and the layer number (none outside the layers) of a parameter.

        Raises:
            HarnessError: the table has no such parameter.
        """
        module, _, kind = parameter.rpartition(".")
        found = _LAYER.search(f".{module}.") if module.startswith(self.layers) else None
        pattern = f".{module}.".replace(found.group(), ".#.", 1).strip(".") if found else module
        for part, modules in self.axes.items():
            if pattern in modules:
                axes = tuple(modules[pattern].split())
                return part, axes[:1] if kind == "bias" else axes, int(found.group(1)) if found else None
        raise HarnessError(
            f"family {self.model_type}: wanted a tensor of the table; got '{parameter}'; "
            "use the stock masked-language model of the family"
        )
