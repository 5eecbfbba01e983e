"""The shape of an encoder, and its size counted from the shape alone.

Legend: **V** vocabulary, **D** hidden, **F** FFN, **L** layers, **P** positions, **T** token types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError, model_validator

from harness.config.values import Count, Strict, refusal
from harness.errors import HarnessError, unknown

FAMILIES: tuple[str, ...] = ("bert", "xlm-roberta")
"""The `model_type` values of transformers that the harness can take apart."""

_FIRST_POSITION = {"bert": 0, "xlm-roberta": 2}
"""XLM-R numbers its positions from padding id + 1, so that two of them are never used."""

_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "types": "type_vocab_size",
}


class Shape(Strict):
    """How large an encoder is, part by part; says nothing of its weights."""

    family: str
    layers: Count
    hidden: Count
    heads: Count
    ffn: Count
    vocabulary: Count
    positions: Count
    types: Count
    tied: bool = True

    @model_validator(mode="after")
    def _check(self) -> Shape:
        if self.family not in FAMILIES:
            raise refusal(f"unknown model family '{self.family}'; there are: {', '.join(FAMILIES)}")
        if self.hidden % self.heads:
            raise refusal(f"hidden {self.hidden} is no multiple of the {self.heads} heads")
        return self

    @property
    def head_size(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that one sequence can hold."""
        return self.positions - _FIRST_POSITION[self.family]

    def parameters(self) -> dict[str, int]:
        """Gives the parameters of each part, as the family's ``ForMaskedLM`` class holds them.

        What holds: the sum equals ``sum(p.numel() for p in model.parameters())`` of the stock class: a tied
        decoder counts once, an untied one has its rows and a second bias; there is no pooler. The norm after
        the embeddings is theirs; ``norms`` are the two of each layer.
        """
        V, D, F, L = self.vocabulary, self.hidden, self.ffn, self.layers
        return {
            "embeddings": (V + self.positions + self.types) * D + 2 * D,
            "attention": L * 4 * (D * D + D),
            "ffn": L * (2 * D * F + F + D),
            "norms": L * 4 * D,
            "mlm_head": D * D + D + 2 * D + V + (0 if self.tied else V * D + V),
        }

    @property
    def num_parameters(self) -> int:
        """The sum of `parameters`."""
        return sum(self.parameters().values())

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> Shape:
        """Reads the shape from a transformers ``config.json`` or ``config.to_dict()``.

        Raises:
            HarnessError: the family is not one the harness knows, or a number is missing.
        """
        family = str(config.get("model_type"))
        if family not in FAMILIES:
            raise unknown("model family", family, FAMILIES)
        missing = [key for key in _KEYS.values() if key not in config]
        if missing:
            raise HarnessError(
                f"config.json: expected {', '.join(_KEYS.values())}; lacks {', '.join(missing)}"
            )
        numbers = {name: config[key] for name, key in _KEYS.items()}
        try:
            return cls(family=family, tied=config.get("tie_word_embeddings", True), **numbers)
        except ValidationError as error:
            place = "".join(f"{_KEYS.get(str(one), one)}: " for one in error.errors()[0]["loc"])
            raise HarnessError(f"config.json: {place}{error.errors()[0]['msg']}") from None


class KnownTeacher(NamedTuple):
    """A published multilingual encoder, pinned."""

    hub_id: str
    revision: str
    shape: Shape


def _base(family: str, vocabulary: int, positions: int, types: int) -> Shape:
    return Shape(
        family=family,
        layers=12,
        hidden=768,
        heads=12,
        ffn=3072,
        vocabulary=vocabulary,
        positions=positions,
        types=types,
    )


KNOWN_TEACHERS: dict[str, KnownTeacher] = {
    "mbert": KnownTeacher(
        "google-bert/bert-base-multilingual-cased",
        "3f076fdb1ab68d5b2880cb87a0886f315b8146f8",
        _base("bert", 119_547, 512, 2),
    ),
    "xlmr": KnownTeacher(
        "FacebookAI/xlm-roberta-base",
        "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
        _base("xlm-roberta", 250_002, 514, 1),
    ),
}
