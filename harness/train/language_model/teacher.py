"""Prepare the pre-training of a multilingual teacher: tokenizer, initial weights, training corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch

from harness.config.shape import Shape
from harness.data.batches import Packed, pack
from harness.families import FAMILIES
from harness.models.initialization.positional_heads import initialize_positional_heads
from harness.models.loading.checkpoint import build_model
from harness.models.tokenizers import train_unigram, train_wordpiece
from harness.train.language_model.cooccurrence import compute_token_vectors
from harness.train.language_model.language_mixing import mix_corpora, sample_lines

TOKENIZER_TRAINERS = {"wordpiece": train_wordpiece, "unigram": train_unigram}

Documents = Sequence[Sequence[str]]


class PretrainingSetup(NamedTuple):
    """An untrained teacher, its tokenizer and its training corpus."""

    model: Any
    tokenizer: Any
    packed: Packed


def prepare_pretraining(
    shape: Shape,
    corpora: Mapping[str, Documents],
    *,
    smoothing: float,
    tokenizer_characters: int,
    sequence_length: int,
    seed: int,
    embeddings: Literal["random", "cooccurrence"] = "random",
    attention: Literal["random", "neighbours"] = "random",
) -> PretrainingSetup:
    """Train the tokenizer, draw the weights and pack the mixed corpus.

    Invariants: equal arguments give equal results; the vocabulary has exactly the shape's size.

    Args:
        shape: of the teacher.
        corpora: language → training documents.
        smoothing: how much more often small languages occur, see `language_mixing.compute_shares`.
        tokenizer_characters: about how many characters the tokenizer learns from.
        sequence_length: tokens of the longest row.
        seed: of weights and mixture.
        embeddings: whether word embeddings start at random or as word vectors (`cooccurrence`).
        attention: whether all heads start at random or two of each layer attend to neighbours
            (`models.initialization.positional_heads`).
    """
    lines = sample_lines(corpora, tokenizer_characters, smoothing)
    train_tokenizer = TOKENIZER_TRAINERS[FAMILIES[shape.family].tokenizers[0]]
    tokenizer = train_tokenizer(lines, shape.vocabulary, shape.max_length)
    packed = {
        language: pack(documents, tokenizer, sequence_length) for language, documents in corpora.items()
    }
    model, mixed = build_model(shape, seed), mix_corpora(packed, smoothing, seed)
    if embeddings == "cooccurrence":
        _initialize_embeddings(model, mixed, set(tokenizer.all_special_ids), seed)
    if attention == "neighbours":
        initialize_positional_heads(model, seed)
    return PretrainingSetup(model, tokenizer, mixed)


def _initialize_embeddings(model: Any, packed: Packed, special_ids: set[int], seed: int) -> None:
    """Replace random embeddings by word vectors of the same mean length, where a token has a vector."""
    weight_VD = model.get_input_embeddings().weight.data
    vocabulary, width = weight_VD.shape
    vectors_VD = torch.from_numpy(
        compute_token_vectors(packed, vocabulary, width, ignored=special_ids, seed=seed)
    )
    length = float(weight_VD.norm(dim=1).mean())
    known_V1 = vectors_VD.norm(dim=1, keepdim=True) > 0
    weight_VD.copy_(torch.where(known_V1, vectors_VD * length, weight_VD))
