"""Compress a multilingual encoder into a small one-language encoder, and measure what was lost."""

from __future__ import annotations

__version__ = "0.1.0"
