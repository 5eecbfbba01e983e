"""The shape of an encoder, and its size counted from the shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, cast

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from harness.config.values import Count, Strict, quote_value, refusal
from harness.errors import HarnessError, unknown
from harness.families import (
    FAMILIES,
    LARGEST_SIZES,
    TEACHERS,
    EncoderSizes,
    ParameterFormula,
    find_unsupported_setting,
)


class Shape(Strict):
    """The sizes of an encoder's parts; it says nothing of the weights.

    Attributes:
        types: token types; 0 where the family has none.
        embedding: width of the embeddings where it is another than that of the hidden states, as in Electra.
        distances: distances to each side that relative positions tell apart, as in DeBERTa.
    """

    family: str
    layers: Count
    hidden: Count
    heads: Count
    ffn: Count
    vocabulary: Count
    positions: Count
    types: Annotated[int, Field(ge=0)]
    tied: bool = True
    embedding: Count | None = None
    distances: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> Shape:
        if self.family not in TEACHERS:
            raise refusal(f"unknown model family '{self.family}'; there are: {', '.join(TEACHERS)}")
        for name, most in LARGEST_SIZES.items():
            if (getattr(self, name, None) or 0) > most:
                raise refusal(f"expected {name} of at most {most:,}; got {quote_value(getattr(self, name))}")
        if self.hidden % self.heads:
            raise refusal(f"hidden {self.hidden} is no multiple of the {self.heads} heads")
        if self.embedding == self.hidden:
            raise refusal(f"embedding {self.embedding} is the width of the hidden states; leave it out")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}

    @property
    def sizes(self) -> dict[str, int]:
        """Every size by its name, with the width of the embeddings."""
        numbers = self.model_dump(exclude={"family", "tied"})
        return numbers | {"embedding": self.embedding or self.hidden}

    @property
    def head_size(self) -> int:
        """The width of an attention head."""
        return self.hidden // self.heads

    @property
    def max_length(self) -> int:
        """The most tokens of a sequence, special tokens included."""
        return self.positions - FAMILIES[self.family].first_position

    def parameters(self) -> dict[str, int]:
        """Count the parameters of each part, as the family's ``ForMaskedLM`` class holds them.

        Invariants: the sum equals ``sum(p.numel() for p in model.parameters())`` of the stock class: a tied
        decoder counts once, an untied decoder has its rows too; there is no pooler. The norm after the
        embeddings belongs to them; ``norms`` are those of the layers.
        """
        count = cast("ParameterFormula", FAMILIES[self.family].count_parameters)  # every teacher has one
        sizes = {"distances": 0} | {
            name: size for name, size in self.sizes.items() if name in EncoderSizes._fields
        }
        return count(EncoderSizes(tied=self.tied, **sizes))

    @property
    def num_parameters(self) -> int:
        """The sum of `parameters`."""
        return sum(self.parameters().values())

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> Shape:
        """Read the shape from a transformers ``config.json`` or ``config.to_dict()``.

        Raises:
            HarnessError: the family is unknown, a number is missing, or a setting is not supported.
        """
        family = str(config.get("model_type"))
        if family not in TEACHERS:
            raise unknown("model family", family, TEACHERS)
        unsupported = find_unsupported_setting(config)
        if unsupported is not None:
            raise HarnessError(f"config.json: {unsupported}")
        keys = FAMILIES[family].keys
        missing = [key for key in keys.values() if key not in config]
        if missing:
            raise HarnessError(
                f"config.json: expected {', '.join(keys.values())}; lacks {', '.join(missing)}"
            )
        numbers = {"types": 0} | {name: config[key] for name, key in keys.items()}
        if numbers.get("embedding") == numbers["hidden"]:
            del numbers["embedding"]
        try:
            return cls(family=family, tied=config.get("tie_word_embeddings", True), **numbers)
        except ValidationError as error:
            place = "".join(f"{keys.get(str(part), part)}: " for part in error.errors()[0]["loc"])
            raise HarnessError(f"config.json: {place}{error.errors()[0]['msg']}") from None


class KnownTeacher(NamedTuple):
    """A published multilingual encoder, pinned.

    Attributes:
        hub_id: of the model on the hub.
        revision: full commit hash.
        shape: with as many tokens as the tokenizer has; rows beyond them are dropped on loading.
        mlm_head: whether it was published with its masked-language head.
    """

    hub_id: str
    revision: str
    shape: Shape
    mlm_head: bool = True


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
    "e5-small": KnownTeacher(
        "intfloat/multilingual-e5-small",
        "614241f622f53c4eeff9890bdc4f31cfecc418b3",
        _base("bert", 250_002, 512, 2).model_copy(update={"hidden": 384, "ffn": 1536}),
        mlm_head=False,
    ),
}
