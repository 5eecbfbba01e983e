"""Tokenizers: trained for a fresh teacher, counted on text, trimmed to one language with the model's rows."""

from __future__ import annotations

from harness.models.tokenizers.training import train_unigram, train_wordpiece

__all__ = ["train_unigram", "train_wordpiece"]
