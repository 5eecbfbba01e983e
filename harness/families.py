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
    "teacher",
    "shorten",
    "prune",
    "narrow",
    "narrow on text",
    "trim",
    "factorise",
    "distil",
    "score",
    "export",
]
Tokenizer: TypeAlias = Literal["wordpiece", "unigram", "bpe"]

SUPPORTED: Mapping[Support, str] = MappingProxyType(
    {
        "teacher": "be a recipe's teacher, published or trained here",
        "shorten": "keep some layers",
        "prune": "keep some FFN neurons and attention heads",
        "narrow": "keep some dimensions of the hidden states",
        "narrow on text": "narrow to principal components, or fitted on text",
        "trim": "keep some tokens",
        "factorise": "split the embeddings into two maps",
        "distil": "be the student or teacher of a language model's distillation",
        "score": "be fine-tuned and scored",
        "export": "be written as ONNX",
    }
)
"""What can be done with a family's models, and what each means."""


class EncoderSizes(NamedTuple):
    """The sizes that a parameter formula takes; ``tied``: the decoder shares the word embeddings."""

    layers: int
    hidden: int
    ffn: int
    vocabulary: int
    positions: int
    types: int
    tied: bool


ParameterFormula: TypeAlias = Callable[[EncoderSizes], dict[str, int]]


def _count_bert(sizes: EncoderSizes) -> dict[str, int]:
    """Count the parameters of each part of BERT or RoBERTa with its MLM head.

    Legend: **V** vocabulary, **D** hidden, **F** FFN, **L** layers.
    """
    V, D, F, L = sizes.vocabulary, sizes.hidden, sizes.ffn, sizes.layers
    return {
        "embeddings": (V + sizes.positions + sizes.types) * D + 2 * D,
        "attention": L * 4 * (D * D + D),
        "ffn": L * (2 * D * F + F + D),
        "norms": L * 4 * D,
        "mlm_head": D * D + D + 2 * D + V + (0 if sizes.tied else V * D + V),
    }


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
_DISTILBERT_KEYS = {"layers": "n_layers", "hidden": "dim", "heads": "n_heads", "ffn": "hidden_dim"}
_SIZE_BY_BERT_KEY = {key: size for size, key in BERT_KEYS.items()}


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
    count_parameters: ParameterFormula | None = None

    @property
    def first_position(self) -> int:
        """The position of the first token in a fresh model; positions below it are never used."""
        return self.padding_id + 1 if self.positions_follow_padding else 0

    def config_key(self, bert_key: str) -> str:
        """Return the family's own key of a size that BERT's configuration calls ``bert_key``."""
        return self.keys.get(_SIZE_BY_BERT_KEY.get(bert_key, ""), bert_key)


_SCORED: frozenset[Support] = frozenset({"score"})
_EXPORTED: frozenset[Support] = _SCORED | {"export"}
_CUT: frozenset[Support] = _EXPORTED | {"shorten", "prune", "narrow", "trim", "distil"}
_FITTED: frozenset[Support] = _CUT | {"narrow on text"}
_TAUGHT: frozenset[Support] = _FITTED | {"teacher"}

_ROWS = (
    ModelFamily(
        "bert",
        "BERT",
        ("wordpiece", "unigram"),
        _TAUGHT | {"factorise"},
        token_types=2,
        mlm_head_tensor="cls.predictions.transform.dense.weight",
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "xlm-roberta",
        "XLM-R",
        ("unigram",),
        _TAUGHT,
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "roberta",
        "RoBERTa",
        ("bpe",),
        _EXPORTED,
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "camembert",
        "CamemBERT",
        ("unigram",),
        _EXPORTED,
        token_types=1,
        padding_id=1,
        positions_follow_padding=True,
        count_parameters=_count_bert,
    ),
    ModelFamily(
        "distilbert",
        "DistilBERT",
        ("wordpiece",),
        _FITTED,
        keys={name: _DISTILBERT_KEYS.get(name, key) for name, key in BERT_KEYS.items() if name != "types"},
        mlm_head_tensor="vocab_transform.weight",
    ),
    ModelFamily(
        "modernbert",
        "ModernBERT",
        ("bpe",),
        _CUT,
        keys={name: key for name, key in BERT_KEYS.items() if name != "types"},
        padding_id=50283,
        mlm_head_tensor="head.dense.weight",
    ),
    ModelFamily(
        "electra",
        "Electra",
        ("wordpiece",),
        _CUT,
        token_types=2,
        mlm_head_tensor="generator_predictions.dense.weight",
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
"""The families that a recipe, a scale and a shape may name."""


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
