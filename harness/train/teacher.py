"""A multilingual teacher from nothing: its tokenizer, its random weights, its training corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.config.shape import Shape
from harness.data.batches import Packed, pack
from harness.models.checkpoint import build
from harness.models.tokenizers import train_unigram, train_wordpiece
from harness.train.mixing import mix, sample_lines

TOKENIZERS = {"bert": train_wordpiece, "xlm-roberta": train_unigram}

Documents = Sequence[Sequence[str]]


class Newborn(NamedTuple):
    """A teacher that has learnt nothing yet, and what it is to learn from."""

    model: Any
    tokenizer: Any
    packed: Packed


def prepare(
    shape: Shape,
    corpora: Mapping[str, Documents],
    *,
    smoothing: float,
    tokenizer_characters: int,
    sequence_length: int,
    seed: int,
) -> Newborn:
    """Trains the tokenizer, draws the weights and packs the mixed corpus.

    Holds: equal arguments give equal results; the vocabulary has exactly the shape's size.

    Args:
        shape: of the teacher.
        corpora: language → training documents.
        smoothing: how much more often small languages are heard, see `mixing.shares`.
        tokenizer_characters: about as many characters the tokenizer learns from.
        sequence_length: tokens of the longest row.
        seed: of weights and mixture.
    """
    lines = sample_lines(corpora, tokenizer_characters, smoothing)
    tokenizer = TOKENIZERS[shape.family](lines, shape.vocabulary, shape.max_length)
    packed = {
        language: pack(documents, tokenizer, sequence_length) for language, documents in corpora.items()
    }
    return Newborn(build(shape, seed), tokenizer, mix(packed, smoothing, seed))
