"""The MLM head in two halves: the transform of hidden states, and the projection to the vocabulary.

Shapes: **N** positions, **D** hidden, **V** vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from harness.errors import unknown


class MlmHead(NamedTuple):
    """An MLM head in two halves: ``logits_NV = transform(hidden_ND) @ weight_VD.T + bias_V``.

    Attributes:
        transform: dense layer, activation and norm; keeps N × D.
        weight_VD: the projection; the word embeddings themselves where they are tied.
        bias_V: its bias, or ``None``.
    """

    transform: Callable[[Tensor], Tensor]
    weight_VD: Tensor
    bias_V: Tensor | None


def _bert(model: Any) -> MlmHead:
    predictions = model.cls.predictions
    return MlmHead(predictions.transform, predictions.decoder.weight, predictions.decoder.bias)


def _roberta(model: Any) -> MlmHead:
    head = model.lm_head

    def transform(hidden_ND: Tensor) -> Tensor:
        normed_ND: Tensor = head.layer_norm(functional.gelu(head.dense(hidden_ND)))
        return normed_ND

    return MlmHead(transform, head.decoder.weight, head.decoder.bias)


def _distilbert(model: Any) -> MlmHead:
    def transform(hidden_ND: Tensor) -> Tensor:
        normed_ND: Tensor = model.vocab_layer_norm(model.activation(model.vocab_transform(hidden_ND)))
        return normed_ND

    return MlmHead(transform, model.vocab_projector.weight, model.vocab_projector.bias)


def _electra(model: Any) -> MlmHead:
    decoder = model.generator_lm_head
    return MlmHead(model.generator_predictions, decoder.weight, decoder.bias)


def _modernbert(model: Any) -> MlmHead:
    return MlmHead(model.head, model.decoder.weight, model.decoder.bias)


MLM_HEADS: Mapping[str, Callable[[Any], MlmHead]] = MappingProxyType(
    {
        "bert": _bert,
        "xlm-roberta": _roberta,
        "distilbert": _distilbert,
        "electra": _electra,
        "modernbert": _modernbert,
    }
)


def split_mlm_head(model: nn.Module) -> MlmHead:
    """Return the two halves of a model's MLM head.

    Invariants: the model's own logits are exactly the composition of the halves.

    Raises:
        UsageError: the head of this family is not in the table.
    """
    config: Any = model.config
    if config.model_type not in MLM_HEADS:
        raise unknown("masked-language head of model type", config.model_type, MLM_HEADS)
    return MLM_HEADS[config.model_type](model)
