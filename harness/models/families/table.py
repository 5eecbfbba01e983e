"""The layouts of all families as one table, and functions that look a model up in it.

Axes: **V** vocabulary, **P** positions, **T** token types, **R** relative positions, **D** hidden (the
residual stream), **E** the embeddings' own width where it is another, **F** FFN, **A** heads × head size,
**N** positions of a batch. A number before an axis is the number of its blocks in one tensor, as the three
maps of ``Wqkv``.
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
    CamembertConfig,
    CamembertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from harness.errors import HarnessError
from harness.families import BERT_KEYS, FAMILIES
from harness.models.families.layout import FamilyLayout, MlmHead, PreNorm


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


def _arrange_roberta(
    model_type: str, model_class: type[PreTrainedModel], config_class: type[PretrainedConfig]
) -> FamilyLayout:
    """Return the layout of RoBERTa, whose names XLM-R and CamemBERT share."""
    return FamilyLayout(
        model_type=model_type,
        model_class=model_class,
        config_class=config_class,
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
    )


def _arrange_electra(width: str) -> FamilyLayout:
    """Return the layout of an Electra whose embeddings have a width of their own, ``E``, or the stream's."""
    mapped = width != "D"
    across = {"electra.embeddings_project": f"D {width}"} if mapped else {}
    return FamilyLayout(
        model_type="electra",
        model_class=ElectraForMaskedLM,
        config_class=ElectraConfig,
        axes={
            "embeddings": _embeddings("electra", width) | across,
            "attention": _attention("electra"),
            "ffn": _ffn("electra"),
            "norms": _norms("electra"),
            "mlm_head": {
                "generator_predictions.dense": f"{width} D",
                "generator_predictions.LayerNorm": width,
                "generator_lm_head": f"V {width}",
            },
        },
        layers="electra.encoder.layer",
        word="electra.embeddings.word_embeddings",
        decoder="generator_lm_head",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_out="attention.output.dense",
        residual=(
            "electra.embeddings_project" if mapped else "electra.embeddings.LayerNorm",
            "attention.output.LayerNorm",
            "output.LayerNorm",
        ),
        ffn_in="intermediate.dense",
        ffn_out="output.dense",
        head_dense="generator_predictions.dense",
        head_norm="generator_predictions.LayerNorm",
        split_head=_split_electra_head,
        embedding_map="electra.embeddings_project" if mapped else "",
        fixed={"layer_norm_eps": 1e-12, "pad_token_id": 0},
    )


_BERT_HEAD = {
    "cls.predictions.transform.dense": "D D",
    "cls.predictions.transform.LayerNorm": "D",
    "cls.predictions.decoder": "V D",
    "cls.predictions": "V",
}
_MODERNBERT_IDS = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
_SAME_WIDTHS = ("embedding_size", "pooler_hidden_size")
"""Keys of some configurations that repeat the hidden size, and change with it."""

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
                "mlm_head": _BERT_HEAD,
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
        "xlm-roberta": _arrange_roberta("xlm-roberta", XLMRobertaForMaskedLM, XLMRobertaConfig),
        "roberta": _arrange_roberta("roberta", RobertaForMaskedLM, RobertaConfig),
        "camembert": _arrange_roberta("camembert", CamembertForMaskedLM, CamembertConfig),
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
        "electra": _arrange_electra("E"),
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
            shared_head="head",
            pre_norm=PreNorm(
                attention_norm="attn_norm",
                attention_in="attn.Wqkv",
                ffn_norm="mlp_norm",
                final_norm="model.final_norm",
                head_activation="classifier_activation",
            ),
            fixed=dict.fromkeys(_MODERNBERT_IDS, None) | {"pad_token_id": 0},
        ),
        "deberta-v2": FamilyLayout(
            model_type="deberta-v2",
            model_class=DebertaV2ForMaskedLM,
            config_class=DebertaV2Config,
            axes={
                "embeddings": {
                    "deberta.embeddings.word_embeddings": "V D",
                    "deberta.embeddings.token_type_embeddings": "T D",
                    "deberta.embeddings.LayerNorm": "D",
                    "deberta.encoder.rel_embeddings": "R D",
                    "deberta.encoder.LayerNorm": "D",
                },
                "attention": {
                    "deberta.encoder.layer.#.attention.self.query_proj": "A D",
                    "deberta.encoder.layer.#.attention.self.key_proj": "A D",
                    "deberta.encoder.layer.#.attention.self.value_proj": "A D",
                    "deberta.encoder.layer.#.attention.output.dense": "D A",
                },
                "ffn": _ffn("deberta"),
                "norms": _norms("deberta"),
                "mlm_head": _BERT_HEAD,
            },
            layers="deberta.encoder.layer",
            word="deberta.embeddings.word_embeddings",
            decoder="cls.predictions.decoder",
            query="attention.self.query_proj",
            key="attention.self.key_proj",
            value="attention.self.value_proj",
            attention_out="attention.output.dense",
            residual=("deberta.embeddings.LayerNorm", "attention.output.LayerNorm", "output.LayerNorm"),
            ffn_in="intermediate.dense",
            ffn_out="output.dense",
            head_dense="cls.predictions.transform.dense",
            head_norm="cls.predictions.transform.LayerNorm",
            split_head=_split_bert_head,
            fixed={
                "relative_attention": True,
                "share_att_key": True,
                "norm_rel_ebd": "layer_norm",
                "position_biased_input": False,
                "pos_att_type": ["p2c", "c2p"],
            },
        ),
    }
)


_ELECTRA_WITHOUT_MAP = _arrange_electra("D")


def config_key(layout: FamilyLayout, key: str) -> str:
    """Return the family's own key of a size that BERT's configuration calls ``key``."""
    return FAMILIES[layout.model_type].config_key(key)


def read_size(model: PreTrainedModel, key: str) -> int:
    """Return a size of a model's configuration by BERT's key, as ``intermediate_size``."""
    return int(getattr(model.config, config_key(find_layout(model), key)))


def write_size(layout: FamilyLayout, config: Any, key: str, value: Any) -> None:
    """Set a size of a configuration by BERT's key."""
    for name in _SAME_WIDTHS if key == BERT_KEYS["hidden"] else ():
        if getattr(config, name, None) == getattr(config, config_key(layout, key)):
            setattr(config, name, value)
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
    if layout.embedding_map and model.config.embedding_size == model.config.hidden_size:
        return _ELECTRA_WITHOUT_MAP
    return layout


def is_tied(model: PreTrainedModel) -> bool:
    """Say whether the decoder's weight and the word embeddings are one tensor."""
    layout = find_layout(model)
    return model.get_submodule(layout.decoder).weight is model.get_submodule(layout.word).weight
