"""Tokenizers: trained for a fresh teacher, counted on text, trimmed to one language with the model's rows."""

from __future__ import annotations

from harness.models.tokenizers.certificate import Certificate
from harness.models.tokenizers.counting import count_characters, count_tokens
from harness.models.tokenizers.training import train_unigram, train_wordpiece
from harness.models.tokenizers.trimming import Trimmed, choose, trim

__all__ = [
    "Certificate",
    "Trimmed",
    "choose",
    "count_characters",
    "count_tokens",
    "train_unigram",
    "train_wordpiece",
    "trim",
]
