"""A small encoder of each family and kind of tokenizer in use, as people publish it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from harness.families import FAMILIES
from harness.models.families.table import LAYOUTS

SIZES = {"layers": 3, "hidden": 24, "heads": 4, "ffn": 30, "positions": 40}
PADDED_ROWS = 7


@dataclass(frozen=True)
class Encoder:
    """An encoder as people publish it.

    Attributes:
        family: its model type.
        tokenizer: the fixture of its tokenizer.
        settings: of its configuration, besides the sizes.
        padded_rows: rows of the embeddings that no token has.
    """

    family: str
    tokenizer: str
    settings: dict[str, Any] = field(default_factory=dict)
    padded_rows: int = 0


DEBERTA = {
    "relative_attention": True,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 6,
    "max_relative_positions": -1,
    "type_vocab_size": 0,
    "pooler_hidden_size": 24,
}
MODERNBERT = {
    "global_attn_every_n_layers": 2,
    "local_attention": 6,
    "bos_token_id": None,
    "eos_token_id": None,
}
ENCODERS = {
    "BERT, WordPiece": Encoder("bert", "wordpiece"),
    "BERT, Unigram": Encoder("bert", "unigram", padded_rows=PADDED_ROWS),
    "XLM-R, Unigram": Encoder("xlm-roberta", "unigram", {"type_vocab_size": 1}),
    "RoBERTa, BPE": Encoder("roberta", "roberta_bpe", {"type_vocab_size": 1}),
    "CamemBERT, Unigram": Encoder("camembert", "unigram", {"type_vocab_size": 1}),
    "DistilBERT, WordPiece": Encoder("distilbert", "wordpiece"),
    "Electra, WordPiece": Encoder("electra", "wordpiece", {"embedding_size": 24}),
    "Electra with a map, WordPiece": Encoder("electra", "wordpiece", {"embedding_size": 10}),
    "ModernBERT, BPE": Encoder("modernbert", "bpe", MODERNBERT, PADDED_ROWS),
    "DeBERTa, Unigram": Encoder("deberta-v2", "unigram", DEBERTA, PADDED_ROWS),
}


def make_config(encoder: Encoder, tokenizer: Any) -> Any:
    """Return the configuration of an encoder for the words of a tokenizer."""
    keys = FAMILIES[encoder.family].keys
    sizes = {keys[name]: size for name, size in SIZES.items()}
    sizes[keys["vocabulary"]] = len(tokenizer) + encoder.padded_rows
    roles = ("pad", "bos", "eos", "cls", "sep")
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id", None) for role in roles}
    ids = {name: number for name, number in ids.items() if number is not None}
    return AutoConfig.for_model(encoder.family, **{**sizes, **ids, **encoder.settings})


@pytest.fixture(scope="module", params=ENCODERS)
def named(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def published(named, request, tmp_path_factory) -> Path:
    """The folder of an encoder without an MLM head, in fp16."""
    encoder = ENCODERS[named]
    tokenizer = request.getfixturevalue(encoder.tokenizer)
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(5)
    AutoModel.from_config(make_config(encoder, tokenizer)).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(named) -> Encoder:
    return ENCODERS[named]


@pytest.fixture(scope="module")
def tokenizer(encoder, request) -> Any:
    return request.getfixturevalue(encoder.tokenizer)


@pytest.fixture(scope="module")
def build(encoder, tokenizer) -> Callable[..., Any]:
    """Return a function that makes the masked-language model, with more settings of its configuration."""

    def build(**settings: Any) -> Any:
        exact = replace(encoder, padded_rows=0, settings=encoder.settings | settings)
        torch.manual_seed(5)
        return LAYOUTS[encoder.family].model_class(make_config(exact, tokenizer)).eval()

    return build


@pytest.fixture(scope="module")
def model(build, lively) -> Any:
    """A masked-language model whose every parameter is random; tests read it and never change it."""
    return lively(build())


@pytest.fixture
def texts(tokenizer, lines) -> dict[str, Any]:
    """Three padded sentences whose every token is a label."""
    tokens = tokenizer(lines[:3], return_tensors="pt", padding=True, truncation=True, max_length=32)
    labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "labels": labels}
