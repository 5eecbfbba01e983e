"""The layout of a model family: the paths of an encoder's parts, and the meaning of each axis of its tensors.

Surgery is one operation, "keep these indices of axis X"; a new family is a new row of `families.table`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from harness.errors import HarnessError

_LAYER = re.compile(r"\.(\d+)\.")


class MlmHead(NamedTuple):
    """An MLM head in two halves: ``logits_NV = transform(hidden_ND) @ weight_VD.T + bias_V``.

    Shapes: **N** positions, **D** hidden, **V** vocabulary.

    Attributes:
        transform: dense layer, activation and norm; keeps N × D.
        weight_VD: the projection; the word embeddings themselves where they are tied.
        bias_V: its bias, or ``None``.
    """

    transform: Callable[[Tensor], Tensor]
    weight_VD: Tensor
    bias_V: Tensor | None


class PreNorm(NamedTuple):
    """The paths of a pre-norm family, whose layers read the residual stream through a norm and add to it.

    Attributes:
        attention_norm: within a layer, the norm before attention; no norm in a layer that lacks it.
        attention_in: within a layer, the map that reads that norm: queries, keys and values of all heads.
        ffn_norm: within a layer, the norm before the FFN.
        final_norm: path of the norm between the last layer and the MLM head.
        head_activation: the configuration's key of the MLM head's activation function.
    """

    attention_norm: str
    attention_in: str
    ffn_norm: str
    final_norm: str
    head_activation: str


@dataclass(frozen=True)
class FamilyLayout:
    """A row of the table.

    Attributes:
        model_type: the family's name in ``config.json``.
        model_class: the stock class with an MLM head.
        config_class: its configuration.
        axes: part → module → axes of its weight; a bias has the first of them; ``#`` is a layer number.
        layers: path of the list of layers.
        word: path of the word embeddings.
        decoder: path of the layer whose output are the logits.
        query: path of the query projection within a layer; likewise ``key``, ``value`` and ``attention_out``.
        residual: paths of the modules that write the residual stream: one in the model, others in a layer.
        ffn_in: path, within a layer, of the FFN's map before the activation function.
        ffn_out: path, within a layer, of the FFN's map after it.
        head_dense: path of the dense layer of the MLM head.
        head_norm: path of its norm.
        shared_head: path of the part of the MLM head that the family's classifiers have too; empty where they
            have none.
        split_head: return the MLM head of a model in its two halves.
        activation: the configuration's key of the FFN's activation function.
        embedding_map: path of the map from the embeddings to the residual stream; empty where there is none.
        pre_norm: the norms before the sublayers; None in a post-norm family.
        fixed: settings of a fresh configuration that are no part of a shape.
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
    split_head: Callable[[Any], MlmHead]
    activation: str = "hidden_act"
    embedding_map: str = ""
    shared_head: str = ""
    pre_norm: PreNorm | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def locate(self, parameter: str) -> tuple[str, tuple[str, ...], int | None]:
        """Return the part, the axes and the layer number (None outside the layers) of a parameter.

        Raises:
            HarnessError: the table has no such parameter.
        """
        module, _, kind = parameter.rpartition(".")
        match = _LAYER.search(f".{module}.") if module.startswith(self.layers) else None
        pattern = f".{module}.".replace(match.group(), ".#.", 1).strip(".") if match else module
        for part, modules in self.axes.items():
            if pattern in modules:
                axes = tuple(modules[pattern].split())
                return part, axes[:1] if kind == "bias" else axes, int(match.group(1)) if match else None
        raise HarnessError(
            f"family {self.model_type}: expected a tensor of the table; got '{parameter}'; "
            "use the stock masked-language model of the family"
        )
