"""Train tokenizers, count tokens, and trim a tokenizer to one language together with the model's rows."""

from __future__ import annotations

from harness.models.tokenizers.counting import count_characters, count_documents, count_tokens
from harness.models.tokenizers.coverage import Certificate
from harness.models.tokenizers.selection import (
    balance_counts,
    choose_requested_tokens,
    choose_tokens,
    select_by_coverage,
    select_by_document_frequency,
    select_by_probability,
)
from harness.models.tokenizers.training import train_unigram, train_wordpiece
from harness.models.tokenizers.trimming import Trimmed, trim_vocabulary
from harness.models.tokenizers.vocabulary import Ids

__all__ = [
    "Certificate",
    "Ids",
    "Trimmed",
    "balance_counts",
    "choose_requested_tokens",
    "choose_tokens",
    "count_characters",
    "count_documents",
    "count_tokens",
    "select_by_coverage",
    "select_by_document_frequency",
    "select_by_probability",
    "train_unigram",
    "train_wordpiece",
    "trim_vocabulary",
]
