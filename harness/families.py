"""The model families as one table: names, sizes, positions, token types, parameters, and what is supported.

The half of a family that needs no torch. Where its layers and tensors lie is in ``harness.models.families``.
What a row does not support is refused in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

Support: TypeAlias = Literal[
    "pretrain",
    "teacher",
    "blank",
    "shorten",
    "prune",
    "narrow",
    "narrow on text",
    "trim",
    "factorise",
    "distil",
    "attention",
    "score",
    "export",
]
Tokenizer: TypeAlias = Literal["wordpiece", "unigram", "bpe"]

SUPPORTED: Mapping[Support, str] = MappingProxyType(
    {
        "pretrain": "be trained here as a teacher, from random weights",
        "teacher": "be a recipe's teacher, adapted, and given an MLM head where it was published without one",
        "blank": "be a student of random weights",
        "shorten": "keep some layers",
        "prune": "keep some FFN neurons and attention heads",
        "narrow": "keep some dimensions of the hidden states",
        "narrow on text": "narrow to principal components, or fitted on text",
        "trim": "keep some tokens",
        "factorise": "split the embeddings into two maps",
        "distil": "be the student or teacher of a distillation that compares logits or hidden states",
        "attention": "be compared by queries, keys, values or attention scores",
        "score": "be fine-tuned and scored",
        "export": "be written as ONNX",
    }
)
"""What can be done with a family's models, and what each means."""


class EncoderSizes(NamedTuple):
    """The sizes that a parameter formula takes.

    Attributes:
        layers: transformer layers.
        hidden: width of the hidden states.
        ffn: neurons of a layer's FFN.
        vocabulary: tokens.
        positions: rows of the position embeddings.
        types: rows of the token type embeddings.
        tied: whether the decoder shares the word embeddings.
        embedding: width of the embeddings.
        distances: distances to each side that relative positions tell apart; 0 without relative positions.
    """

    layers: int
    hidden: int
    ffn: int
    vocabulary: int
    positions: int
    types: int
    tied: bool
    embedding: int
    distances: int


ParameterFormula: TypeAlias = Callable[[EncoderSizes], dict[str, int]]


def _count_bert(sizes: EncoderSizes) -> dict[str, int]:
    """Count the parameters of each part of BERT or RoBERTa with its MLM head.

    Legend: **V** vocabulary, **D** hidden, **F** FFN, **L** layers.
    """
    V, D = sizes.vocabulary, sizes.hidden
    return {
        "embeddings": (V + sizes.positions + sizes.types) * D + 2 * D,
        **_count_post_norm_layers(sizes),
        "mlm_head": D * D + D + 2 * D + V + (0 if sizes.tied else V * D + V),
    }


def _count_distilbert(sizes: EncoderSizes) -> dict[str, int]:
    """Count the same of DistilBERT, whose untied decoder has no second bias."""
    V, D = sizes.vocabulary, sizes.hidden
    return {**_count_bert(sizes), "mlm_head": D * D + D + 2 * D + V + (0 if sizes.tied else V * D)}


def _count_electra(sizes: EncoderSizes) -> dict[str, int]:
    """Count the same of Electra: embeddings of width **E**, and a map to D where the two differ."""
    V, D, E = sizes.vocabulary, sizes.hidden, sizes.embedding
    return {
        "embeddings": (V + sizes.positions + sizes.types) * E + 2 * E + (0 if E == D else E * D + D),
        **_count_post_norm_layers(sizes),
        "mlm_head": D * E + E + 2 * E + V + (0 if sizes.tied else V * E),
    }


def _count_modernbert(sizes: EncoderSizes) -> dict[str, int]:
    """Count the same of ModernBERT: no bias but the decoder's, a gated FFN, no first norm in layer 0."""
    V, D, F, L = sizes.vocabulary, sizes.hidden, sizes.ffn, sizes.layers
    return {
        "embeddings": V * D + D,
        "attention": L * 4 * D * D,
        "ffn": L * 3 * D * F,
        "norms": 2 * L * D,
        "mlm_head": D * D + D + V + (0 if sizes.tied else V * D),
    }


def _count_deberta(sizes: EncoderSizes) -> dict[str, int]:
    """Count the same of DeBERTa-v2: rows of distances to each side, with a norm, in place of positions."""
    D = sizes.hidden
    return {
        **_count_bert(sizes),
        "embeddings": (sizes.vocabulary + sizes.types + 2 * sizes.distances) * D + 4 * D,
    }


def _count_post_norm_layers(sizes: EncoderSizes) -> dict[str, int]:
    D, F, L = sizes.hidden, sizes.ffn, sizes.layers
    return {"attention": L * 4 * (D * D + D), "ffn": L * (2 * D * F + F + D), "norms": L * 4 * D}


BERT_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "ffn": "intermediate_size",
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "types": "type_vocab_size",
    }
)
"""Size → its key in BERT's ``config.json``, which most families share."""
_POSITIONS_ALONE = {name: key for name, key in BERT_KEYS.items() if name != "types"}
LARGEST_SIZES: Mapping[str, int] = MappingProxyType(
    {
        "layers": 1000,
        "hidden": 1 << 16,
        "embedding": 1 << 16,
        "heads": 1 << 12,
        "ffn": 1 << 20,
        "vocabulary": 1 << 24,
        "positions": 1 << 24,
        "distances": 1 << 24,
        "types": 1 << 10,
        "num_labels": 1 << 20,
    }
)
"""The largest sizes that are read; those of published encoders are far below."""
_DISTILBERT_KEYS = {"layers": "n_layers", "hidden": "dim", "heads": "n_heads", "ffn": "hidden_dim"}
_SIZE_BY_BERT_KEY = {key: size for size, key in BERT_KEYS.items()}


class Setting(NamedTuple):
    """A setting of ``config.json`` of which one value is supported.

    Attributes:
        value: that is supported.
        default: the value where ``config.json`` does not state the setting.
    """

    value: Any
    default: Any


_ENCODER: Mapping[str, Setting] = MappingProxyType({"is_decoder": Setting(False, False)})
_ROBERTA: Mapping[str, Setting] = MappingProxyType({**_ENCODER, "pad_token_id": Setting(1, 1)})
"""Positions are numbered from the padding token's id on, and so is their number counted here."""
_MODERNBERT_SETTINGS = {
    **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), Setting(False, False)),
    "decoder_bias": Setting(True, True),
}
_DEBERTA_SETTINGS = {
    "relative_attention": Setting(True, False),
    "share_att_key": Setting(True, False),
    "norm_rel_ebd": Setting("layer_norm", "none"),
    "position_biased_input": Setting(False, True),
    "conv_kernel_size": Setting(0, 0),
    "legacy": Setting(True, True),
}
_DEBERTA_HEADS = (
    frozenset(
        f"mask_predictions.{part}.{kind}"
        for part in ("dense", "LayerNorm", "classifier")
        for kind in ("weight", "bias")
    ),
    frozenset(
        f"lm_predictions.lm_head.{name}"
        for name in ("dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias", "bias")
    ),
)
"""DeBERTa-v3 was trained to find replaced tokens; its checkpoints hold that head and the generator's."""


@dataclass(frozen=True)
class ModelFamily:
    """A row of the table.

    Attributes:
        model_type: what ``config.json`` calls the family.
        title: what people call it.
        tokenizers: the kinds that its published models come with; the first is trained for a fresh teacher.
        supports: what can be done with its models.
        keys: size → its key in ``config.json``.
        token_types: how many token types a fresh model has; 0 where the family has none.
        padding_id: id of the padding token in a fresh model.
        positions_follow_padding: whether positions are numbered from the padding token's id on.
        mlm_head_tensor: a tensor that a checkpoint with a masked-language head has, and no other has.
        first_layer_stays: whether layer 0 differs from the others and must stay the first.
        whole_heads: whether heads can be dropped only, since positions rotate their dimensions in pairs.
        values_of: the family whose value it takes where a recipe states values by family and not its own.
        settings: of ``config.json`` of which one value is supported.
        other_heads: tensors of heads that published checkpoints hold and no stock class has, each head whole.
        inert_keys: keys that published configurations of the family have and no class of it ever read.
        count_parameters: the parameters of each part from the sizes; None where no formula is written.
    """

    model_type: str
    title: str
    tokenizers: tuple[Tokenizer, ...]
    supports: frozenset[Support]
    keys: Mapping[str, str] = field(default_factory=lambda: BERT_KEYS, hash=False)
    token_types: int = 0
    padding_id: int = 0
    positions_follow_padding: bool = False
    mlm_head_tensor: str = "lm_head.dense.weight"
    first_layer_stays: bool = False
    whole_heads: bool = False
    values_of: str = ""
    settings: Mapping[str, Setting] = field(default_factory=lambda: _ENCODER, hash=False)
    other_heads: tuple[frozenset[str], ...] = ()
    inert_keys: frozenset[str] = frozenset()
    count_parameters: ParameterFormula | None = None

    @property
    def first_position(self) -> int:
        """The position of the first token in a fresh model; positions below it are never used."""
        return self.padding_id + 1 if self.positions_follow_padding else 0

    def config_key(self, bert_key: str) -> str:
        """Return the family's own key of a size that BERT's configuration calls ``bert_key``."""
        return self.keys.get(_SIZE_BY_BERT_KEY.get(bert_key, ""), bert_key)


_SCORED: frozenset[Support] = frozenset({"score"})
_CUT: frozenset[Support] = _SCORED | {
    "export",
    "teacher",
    "blank",
    "shorten",
    "prune",
    "narrow",
    "trim",
    "distil",
}
_FITTED: frozenset[Support] = _CUT | {"narrow on text", "attention"}

_ROWS = (
    ModelFamily(
        "bert",
        "BERT",
        ("wordpiece", "unigram"),
        _FITTED | {"pretrain", "factorise"},
        token_types=2,
        mlm_head_tensor="cls.predictions.transform.dense.weight",
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "xlm-roberta",
        "XLM-R",
        ("unigram",),
        _FITTED | {"pretrain"},
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
        settings=_ROBERTA,
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "roberta",
        "RoBERTa",
        ("bpe",),
        _FITTED,
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
        values_of="xlm-roberta",
        settings=_ROBERTA,
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "camembert",
        "CamemBERT",
        ("unigram",),
        _FITTED,
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
        values_of="xlm-roberta",
        settings=_ROBERTA,
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "distilbert",
        "DistilBERT",
        ("wordpiece",),
        _FITTED,
        keys={name: _DISTILBERT_KEYS.get(name, key) for name, key in _POSITIONS_ALONE.items()},
        mlm_head_tensor="vocab_transform.weight",
        values_of="bert",
        count_parameters=_count_distilbert,
    ),
    ModelFamily(
        "electra",
        "Electra",
        ("wordpiece",),
        _FITTED,
        keys={**BERT_KEYS, "embedding": "embedding_size"},
        token_types=2,
        mlm_head_tensor="generator_predictions.dense.weight",
        values_of="bert",
        count_parameters=_count_electra,
    ),
    ModelFamily(
        "modernbert",
        "ModernBERT",
        ("bpe",),
        _CUT | {"narrow on text"},
        keys=_POSITIONS_ALONE,
        padding_id=50283,
        mlm_head_tensor="decoder.bias",
        first_layer_stays=True,
        whole_heads=True,
        values_of="xlm-roberta",
        settings={**_ENCODER, **_MODERNBERT_SETTINGS},
        count_parameters=_count_modernbert,
        inert_keys=frozenset({"position_embedding_type"}),
    ),
    ModelFamily(
        "deberta-v2",
        "DeBERTa-v2 and v3",
        ("unigram",),
        _CUT,
        keys={**BERT_KEYS, "distances": "position_buckets"},
        mlm_head_tensor="cls.predictions.transform.dense.weight",
        values_of="xlm-roberta",
        settings={**_ENCODER, **_DEBERTA_SETTINGS},
        other_heads=_DEBERTA_HEADS,
        count_parameters=_count_deberta,
    ),
    ModelFamily(
        "xlm-roberta-xl",
        "XLM-R XL",
        ("unigram",),
        _SCORED,
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
    ),
)
FAMILIES: Mapping[str, ModelFamily] = MappingProxyType({row.model_type: row for row in _ROWS})


def list_families(support: Support) -> tuple[str, ...]:
    """Return the model types of the families with which something can be done."""
    return tuple(name for name, row in FAMILIES.items() if support in row.supports)


TEACHERS = list_families("teacher")
"""The families that a recipe and a shape may name."""


def find_unsupported_setting(config: Mapping[str, Any]) -> str | None:
    """Return which setting of a ``config.json`` is not supported, as the rest of a message; None if all are.

    A family without a row has no such setting.
    """
    row = FAMILIES.get(str(config.get("model_type")))
    for name, setting in (row.settings if row else {}).items():
        got = config.get(name, setting.default)
        if got != setting.value:
            return (
                f"expected {name} {setting.value}; got {got}; take another {row.title if row else ''} model"
            )
    return None


def max_input_tokens(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens, special ones included, fit a model's positions; None where there is no end.

    A family without a row is read as BERT: its positions begin at 0.

    Args:
        config: its ``config.json``.
    """
    positions = config.get("max_position_embeddings")
    if positions is None:
        return None
    row = FAMILIES.get(str(config["model_type"]))
    unused = int(config.get("pad_token_id") or 0) + 1 if row and row.positions_follow_padding else 0
    return int(positions) - unused
