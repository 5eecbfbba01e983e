"""The shapes of the edge targets, with random weights: latency and size do not depend on the weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import BertConfig, BertForTokenClassification

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
NUM_LABELS = 17
POSITIONS = 512


class Shape(NamedTuple):
    """Layers, hidden, heads, FFN and vocabulary of a BERT."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int


class Target(NamedTuple):
    """How many times as fast as mBERT's shape in fp32 the int8 file must be, and its most megabytes."""

    speed: float
    size_mb: float | None


TEACHER_NAME = "mBERT's shape"
TEACHER = Shape(12, 768, 12, 3072, 119547)
STUDENTS: Mapping[str, tuple[Shape, Target]] = MappingProxyType(
    {
        "paper (6 x 312, 12 heads of 26)": (Shape(6, 312, 12, 2048, 40000), Target(16, 25)),
        "heads of 64 (6 x 320)": (Shape(6, 320, 5, 2048, 40000), Target(18, None)),
        "browser (4 x 256, heads of 64)": (Shape(4, 256, 4, 768, 11000), Target(40, 6)),
    }
)


def build_model(shape: Shape, kind: type[Any] = BertForTokenClassification) -> Any:
    """Return a model of a shape with random weights, the same every time."""
    torch.manual_seed(0)
    labels = {number: f"T{number}" for number in range(NUM_LABELS)}
    config = BertConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.ffn, max_position_embeddings=POSITIONS,
        id2label=labels, label2id={name: number for number, name in labels.items()},
    )  # fmt: skip
    return kind(config).eval()


def draw_batch(vocabulary: int, length: int, batch_size: int = 1) -> dict[str, Any]:
    """Return a batch of random ids without padding."""
    ids_BL = np.random.default_rng(0).integers(5, vocabulary, (batch_size, length), dtype=np.int64)
    return {
        "input_ids": ids_BL,
        "attention_mask": np.ones_like(ids_BL),
        "token_type_ids": np.zeros_like(ids_BL),
    }
