"""The layouts of all families as one table, and functions that look a model up in it.

Axes: **V** vocabulary, **P** positions, **T** token types, **D** hidden (the residual stream), **E** the
embeddings' own width where it is another, **F** FFN, **A** heads × head size, **N** positions. A number
before an axis is the number of its blocks in one tensor, as the three maps of ``Wqkv``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from harness.errors import HarnessError
from harness.families import FAMILIES
from harness.models.families.layout import FamilyLayout, MlmHead


def _embeddings(prefix: str, width: str = "D") -> dict[str, str]:
    return {
        f"{prefix}.embeddings.word_embeddings": f"V {width}",
        f"{prefix}.embeddings.position_embeddings": f"P {width}",
        f"{prefix}.embeddings.token_type_embeddings": f"T {width}",
        f"{prefix}.embeddings.LayerNorm": width,
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


def _split_bert_head(model: Any) -> MlmHead:
    predictions = model.cls.predictions
    return MlmHead(predictions.transform, predictions.decoder.weight, predictions.decoder.bias)


def _split_roberta_head(model: Any) -> MlmHead:
    head = model.lm_head

    def transform(hidden_ND: Tensor) -> Tensor:
        normed_ND: Tensor = head.layer_norm(functional.gelu(head.dense(hidden_ND)))
        return normed_ND

    return MlmHead(transform, head.decoder.weight, head.decoder.bias)


def _split_distilbert_head(model: Any) -> MlmHead:
    def transform(hidden_ND: Tensor) -> Tensor:
        normed_ND: Tensor = model.vocab_layer_norm(model.activation(model.vocab_transform(hidden_ND)))
        return normed_ND

    return MlmHead(transform, model.vocab_projector.weight, model.vocab_projector.bias)


def _split_electra_head(model: Any) -> MlmHead:
    decoder = model.generator_lm_head
    return MlmHead(model.generator_predictions, decoder.weight, decoder.bias)


def _split_modernbert_head(model: Any) -> MlmHead:
    return MlmHead(model.head, model.decoder.weight, model.decoder.bias)


LAYOUTS: Mapping[str, FamilyLayout] = MappingProxyType(
    {
        "bert": FamilyLayout(
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
            split_head=_split_bert_head,
            fixed={"layer_norm_eps": 1e-12, "pad_token_id": 0},
        ),
        "xlm-roberta": FamilyLayout(
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
            split_head=_split_roberta_head,
            fixed={"layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
        ),
        "distilbert": FamilyLayout(
            model_type="distilbert",
            model_class=DistilBertForMaskedLM,
            config_class=DistilBertConfig,
            axes={
                "embeddings": {
                    "distilbert.embeddings.word_embeddings": "V D",
                    "distilbert.embeddings.position_embeddings": "P D",
                    "distilbert.embeddings.LayerNorm": "D",
                },
                "attention": {
                    "distilbert.transformer.layer.#.attention.q_lin": "A D",
                    "distilbert.transformer.layer.#.attention.k_lin": "A D",
                    "distilbert.transformer.layer.#.attention.v_lin": "A D",
                    "distilbert.transformer.layer.#.attention.out_lin": "D A",
                },
                "ffn": {
                    "distilbert.transformer.layer.#.ffn.lin1": "F D",
                    "distilbert.transformer.layer.#.ffn.lin2": "D F",
                },
                "norms": {
                    "distilbert.transformer.layer.#.sa_layer_norm": "D",
                    "distilbert.transformer.layer.#.output_layer_norm": "D",
                },
                "mlm_head": {"vocab_transform": "D D", "vocab_layer_norm": "D", "vocab_projector": "V D"},
            },
            layers="distilbert.transformer.layer",
            word="distilbert.embeddings.word_embeddings",
            decoder="vocab_projector",
            query="attention.q_lin",
            key="attention.k_lin",
            value="attention.v_lin",
            attention_out="attention.out_lin",
            residual=("distilbert.embeddings.LayerNorm", "sa_layer_norm", "output_layer_norm"),
            ffn_in="ffn.lin1",
            ffn_out="ffn.lin2",
            head_dense="vocab_transform",
            head_norm="vocab_layer_norm",
            split_head=_split_distilbert_head,
            activation="activation",
            fixed={"pad_token_id": 0},
        ),
        "electra": FamilyLayout(
            model_type="electra",
            model_class=ElectraForMaskedLM,
            config_class=ElectraConfig,
            axes={
                "embeddings": {**_embeddings("electra", "E"), "electra.embeddings_project": "D E"},
                "attention": _attention("electra"),
                "ffn": _ffn("electra"),
                "norms": _norms("electra"),
                "mlm_head": {
                    "generator_predictions.dense": "E D",
                    "generator_predictions.LayerNorm": "E",
                    "generator_lm_head": "V E",
                },
            },
            layers="electra.encoder.layer",
            word="electra.embeddings.word_embeddings",
            decoder="generator_lm_head",
            query="attention.self.query",
            key="attention.self.key",
            value="attention.self.value",
            attention_out="attention.output.dense",
            residual=("electra.embeddings_project", "attention.output.LayerNorm", "output.LayerNorm"),
            ffn_in="intermediate.dense",
            ffn_out="output.dense",
            head_dense="generator_predictions.dense",
            head_norm="generator_predictions.LayerNorm",
            split_head=_split_electra_head,
            post_norm=False,
            fixed={"layer_norm_eps": 1e-12, "pad_token_id": 0},
        ),
        "modernbert": FamilyLayout(
            model_type="modernbert",
            model_class=ModernBertForMaskedLM,
            config_class=ModernBertConfig,
            axes={
                "embeddings": {
                    "model.embeddings.tok_embeddings": "V D",
                    "model.embeddings.norm": "D",
                },
                "attention": {"model.layers.#.attn.Wqkv": "3A D", "model.layers.#.attn.Wo": "D A"},
                "ffn": {"model.layers.#.mlp.Wi": "2F D", "model.layers.#.mlp.Wo": "D F"},
                "norms": {
                    "model.layers.#.attn_norm": "D",
                    "model.layers.#.mlp_norm": "D",
                    "model.final_norm": "D",
                },
                "mlm_head": {"head.dense": "D D", "head.norm": "D", "decoder": "V D"},
            },
            layers="model.layers",
            word="model.embeddings.tok_embeddings",
            decoder="decoder",
            query="",
            key="",
            value="",
            attention_out="attn.Wo",
            residual=("model.embeddings.norm", "attn.Wo", "mlp.Wo"),
            ffn_in="mlp.Wi",
            ffn_out="mlp.Wo",
            head_dense="head.dense",
            head_norm="head.norm",
            split_head=_split_modernbert_head,
            activation="hidden_activation",
            post_norm=False,
            rotary=True,
            first_layer_lacks_norm=True,
        ),
    }
)


def config_key(layout: FamilyLayout, key: str) -> str:
    """Return the family's own key of a size that BERT's configuration calls ``key``."""
    return FAMILIES[layout.model_type].config_key(key)


def read_size(model: PreTrainedModel, key: str) -> int:
    """Return a size of a model's configuration by BERT's key, as ``intermediate_size``."""
    return int(getattr(model.config, config_key(find_layout(model), key)))


def write_size(layout: FamilyLayout, config: Any, key: str, value: Any) -> None:
    """Set a size of a configuration by BERT's key."""
    setattr(config, config_key(layout, key), value)


def find_layout(model: PreTrainedModel) -> FamilyLayout:
    """Return the layout of a model.

    Raises:
        HarnessError: the model is of another family, or has no MLM head.
    """
    layout = LAYOUTS.get(model.config.model_type)
    if layout is None or not isinstance(model, layout.model_class):
        known = ", ".join(row.model_class.__name__ for row in LAYOUTS.values())
        got = type(model).__name__
        raise HarnessError(f"model: expected one of {known}; got {got}; load it with its MLM head")
    return layout


def check_residual_width(model: PreTrainedModel) -> None:
    """Check that a model's residual stream has a width of its own.

    Raises:
        HarnessError: it is an Electra whose embeddings, being as wide as the stream, are added without a map.
    """
    config = model.config
    if config.model_type == "electra" and config.embedding_size == config.hidden_size:
        raise HarnessError(
            f"model: expected an Electra whose embeddings are narrower than its hidden states; got both "
            f"{config.hidden_size} wide, with no map between them; prune or trim it, or take another model"
        )


def is_tied(model: PreTrainedModel) -> bool:
    """Say whether the decoder's weight and the word embeddings are one tensor."""
    layout = find_layout(model)
    return model.get_submodule(layout.decoder).weight is model.get_submodule(layout.word).weight
