"""Encoders to fine-tune and score: any stock checkpoint, with or without an MLM head."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModel, PreTrainedTokenizerBase

from harness.models.loading.folder import ModelFolder
from harness.models.loading.settings import load_config
from harness.models.loading.stock import load_stock_model
from harness.models.loading.tokenizer import check_ids_have_rows, check_task_tokens, load_tokenizer


def load_encoder(folder: ModelFolder) -> Any:
    """Load the encoder of a model folder, without any head, in float32."""
    return load_stock_model(folder, AutoModel, new_head=True).model


def draw_encoder(folder: ModelFolder, seed: int) -> Any:
    """Return an encoder of the same shape as the folder's, with random weights of this seed."""
    torch.manual_seed(seed)
    return AutoModel.from_config(load_config(folder), dtype=torch.float32)


def load_task_tokenizer(folder: ModelFolder) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder, and check that tasks can be encoded with it.

    Raises:
        HarnessError: the folder has no fast tokenizer, one without a special token that tasks need, or one
            with ids beyond the model's.
    """
    tokenizer = load_tokenizer(folder)
    check_task_tokens(folder, tokenizer)
    check_ids_have_rows(folder, tokenizer, _count_rows(folder))
    return tokenizer


def _count_rows(folder: ModelFolder) -> int:
    """Return the number of embedding rows, also where ``config.json`` leaves it to the class's default."""
    rows = getattr(load_config(folder), "vocab_size", None)
    if not isinstance(rows, int):
        raise folder.error("the config of a text encoder", f"vocab_size {rows}", "name another model")
    return rows


def count_token_types(config: Any) -> int:
    """Return how many token types a model has, as for the two texts of a pair; at least one."""
    return max(1, getattr(config, "type_vocab_size", None) or 1)
