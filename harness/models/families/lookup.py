"""The families as one table, and what it says of a model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.models.families.family import Family
from harness.models.families.table import FAMILIES

__all__ = [
    "CONFIG_KEYS",
    "FAMILIES",
    "Family",
    "family_of",
    "is_tied",
    "max_length",
    "read_size",
    "write_size",
]

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


def read_size(model: PreTrainedModel, key: str) -> int:
    """Gives a size of a model's configuration by BERT's name for it, as ``intermediate_size``."""
    return int(getattr(model.config, family_of(model).keys.get(key, key)))


def write_size(family: Family, config: Any, key: str, value: Any) -> None:
    """Sets a size of a configuration by BERT's name for it."""
    setattr(config, family.keys.get(key, key), value)


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


def check_residual(model: PreTrainedModel) -> None:
    """Checks that a model's residual stream has a width of its own.

    Raises:
        HarnessError: it is an Electra whose embeddings, being as wide as the stream, are added without a map.
    """
    config = model.config
    if config.model_type == "electra" and config.embedding_size == config.hidden_size:
        raise HarnessError(
            f"model: wanted an Electra whose embeddings are narrower than its hidden states; got both "
            f"{config.hidden_size} wide, with no map between them; prune or trim it, or take another model"
        )


def max_length(model: PreTrainedModel) -> int:
    """Gives the most tokens, special ones included, that one sequence can hold."""
    unused = model.config.pad_token_id + 1 if family_of(model).positions_follow_padding else 0
    return int(model.config.max_position_embeddings) - unused


def is_tied(model: PreTrainedModel) -> bool:
    """Says whether the decoder's weight and the word embeddings are one tensor."""
    family = family_of(model)
    return model.get_submodule(family.decoder).weight is model.get_submodule(family.word).weight
