"""Tokenizers: trained for a fresh teacher, counted on text, trimmed to one language with the model's rows."""

from __future__ import annotations

from harness.models.tokenizers.counting import count_characters, count_documents, count_tokens
from harness.models.tokenizers.coverage import Certificate
from harness.models.tokenizers.selection import balance, choose, choose_wanted, covering, in_documents
from harness.models.tokenizers.training import train_unigram, train_wordpiece
from harness.models.tokenizers.trimming import Trimmed, trim
from harness.models.tokenizers.vocabulary import Ids

__all__ = [
    "Certificate",
    "Ids",
    "Trimmed",
    "balance",
    "choose",
    "choose_wanted",
    "count_characters",
    "count_documents",
    "count_tokens",
    "covering",
    "in_documents",
    "train_unigram",
    "train_wordpiece",
    "trim",
]
