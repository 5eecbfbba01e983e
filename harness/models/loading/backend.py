"""The Rust tokenizer under a transformers tokenizer, without what its last call left behind."""

from __future__ import annotations

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase


def bare_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Gives the backend with no truncation and no padding.

    A call with ``truncation`` or ``padding`` leaves both set: they would cut what is counted, and be saved in
    ``tokenizer.json``. Clearing them is safe, as transformers sets them anew on every call.
    """
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend
