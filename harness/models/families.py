"""The families as one table: where each part of an encoder lives, and what each axis of each tensor means.

Axes: **V** vocabulary, **P** positions, **T** token types, **D** hidden (the residual stream), **F** FFN,
**A** heads × head size. Surgery is one operation, "keep these indices of axis X"; a new family is a new row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from transformers import (
    BertConfig,
    BertForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from harness.errors import HarnessError

_LAYER = re.compile(r"\.(\d+)\.")

#: What a shape calls a size, and what the configuration of a model calls it.
CONFIG_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "ffn": "intermediate_size",
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "types": "type_vocab_size",
        "tied": "tie_word_embeddings",
    }
)


@dataclass(frozen=True)
class Family:
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
        positions_follow_padding: whether positions are numbered from the padding token's id.
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
    positions_follow_padding: bool = False
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


def _embeddings(prefix: str) -> dict[str, str]:
    return {
        f"{prefix}.embeddings.word_embeddings": "V D",
        f"{prefix}.embeddings.position_embeddings": "P D",
        f"{prefix}.embeddings.token_type_embeddings": "T D",
        f"{prefix}.embeddings.LayerNorm": "D",
    }


def _attention(prefix: str) -> dict[str, str]:
    return {
        f"{prefix}.encoder.layer.#.attention.self.query": "A D",
        f"{prefix}.encoder.layer.#.attention.self.key": "A D",
        f"{prefix}.encoder.layer.#.attention.self.value": "A D",
        f"{prefix}.encoder.layer.#.attention.output.dense": "D A",
    }


def _ffn(prefix: str) -> dict[str, str]:
    return {
        f"{prefix}.encoder.layer.#.intermediate.dense": "F D",
        f"{prefix}.encoder.layer.#.output.dense": "D F",
    }


def _norms(prefix: str) -> dict[str, str]:
    return {
        f"{prefix}.encoder.layer.#.attention.output.LayerNorm": "D",
        f"{prefix}.encoder.layer.#.output.LayerNorm": "D",
    }


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "bert": Family(
            model_type="bert",
            model_class=BertForMaskedLM,
            config_class=BertConfig,
            axes={
                "embeddings": _embeddings("bert"),
                "attention": _attention("bert"),
                "ffn": _ffn("bert"),
                "norms": _norms("bert"),
                "mlm_head": {
                    "cls.predictions.transform.dense": "D D",
                    "cls.predictions.transform.LayerNorm": "D",
                    "cls.predictions.decoder": "V D",
                    "cls.predictions": "V",
                },
            },
            layers="bert.encoder.layer",
            word="bert.embeddings.word_embeddings",
            decoder="cls.predictions.decoder",
            query="attention.self.query",
            key="attention.self.key",
            value="attention.self.value",
            attention_out="attention.output.dense",
            residual=("bert.embeddings.LayerNorm", "attention.output.LayerNorm", "output.LayerNorm"),
            ffn_in="intermediate.dense",
            ffn_out="output.dense",
            head_dense="cls.predictions.transform.dense",
            head_norm="cls.predictions.transform.LayerNorm",
            fixed={"layer_norm_eps": 1e-12, "pad_token_id": 0},
        ),
        "xlm-roberta": Family(
            model_type="xlm-roberta",
            model_class=XLMRobertaForMaskedLM,
            config_class=XLMRobertaConfig,
            axes={
                "embeddings": _embeddings("roberta"),
                "attention": _attention("roberta"),
                "ffn": _ffn("roberta"),
                "norms": _norms("roberta"),
                "mlm_head": {
                    "lm_head.dense": "D D",
                    "lm_head.layer_norm": "D",
                    "lm_head.decoder": "V D",
                    "lm_head": "V",
                },
            },
            layers="roberta.encoder.layer",
            word="roberta.embeddings.word_embeddings",
            decoder="lm_head.decoder",
            query="attention.self.query",
            key="attention.self.key",
            value="attention.self.value",
            attention_out="attention.output.dense",
            residual=("roberta.embeddings.LayerNorm", "attention.output.LayerNorm", "output.LayerNorm"),
            ffn_in="intermediate.dense",
            ffn_out="output.dense",
            head_dense="lm_head.dense",
            head_norm="lm_head.layer_norm",
            positions_follow_padding=True,
            fixed={"layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
        ),
    }
)


def family_of(model: PreTrainedModel) -> Family:
    """Gives the row of a model.

    Raises:
        HarnessError: the model is of another family, or has no MLM head.
    """
    family = FAMILIES.get(model.config.model_type)
    if family is None or not isinstance(model, family.model_class):
        known = ", ".join(row.model_class.__name__ for row in FAMILIES.values())
        got = type(model).__name__
        raise HarnessError(f"model: wanted one of {known}; got {got}; load it with its MLM head")
    return family


def max_length(model: PreTrainedModel) -> int:
    """Gives the most tokens, special ones included, that one sequence can hold."""
    unused = model.config.pad_token_id + 1 if family_of(model).positions_follow_padding else 0
    return int(model.config.max_position_embeddings) - unused


def is_tied(model: PreTrainedModel) -> bool:
    """Says whether the decoder's weight and the word embeddings are one tensor."""
    family = family_of(model)
    return model.get_submodule(family.decoder).weight is model.get_submodule(family.word).weight
