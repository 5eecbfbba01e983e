"""Encoders that others made: any stock checkpoint that can be fine-tuned, with or without an MLM head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from harness.models.loading.checkpoint import quiet
from harness.models.loading.folder import check_ids, read_config, read_tokenizer, refusal, told

_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")
"""Families that number positions from the padding's id on; the programs beside an export know them too."""

_NEEDED = {
    "the start": ("cls", "bos"),
    "the end": ("sep", "eos"),
    "padding": ("pad",),
    "the unknown": ("unk",),
}
"""What fine-tuning puts around and between words, by the tokens that may serve."""


def load_tokenizer(folder: Path) -> Any:
    """Gives the tokenizer of a model's folder, fit for tasks.

    Raises:
        HarnessError: the folder has no fast tokenizer, one without a special token that tasks need, or one
            with ids beyond the model's.
    """
    rows = _num_rows(folder)
    tokenizer = read_tokenizer(folder)
    if lacking := [which for which, names in _NEEDED.items() if not _has_one(tokenizer, names)]:
        advice = "set it in tokenizer_config.json"
        raise refusal(folder, f"a token for {' and '.join(_NEEDED)}", f"none for {lacking[0]}", advice)
    check_ids(folder, tokenizer, rows)
    return tokenizer


def _has_one(tokenizer: Any, names: Sequence[str]) -> bool:
    return any(getattr(tokenizer, f"{name}_token_id") is not None for name in names)


def count_token_types(model: Any) -> int:
    """Gives how many token types a model tells apart, as those of a pair's two texts; one at least."""
    return max(1, getattr(model.config, "type_vocab_size", None) or 1)


def _num_rows(folder: Path) -> int:
    """Gives the rows of the embeddings, also where ``config.json`` leaves them to the class."""
    read_config(folder)
    try:
        return int(AutoConfig.from_pretrained(folder, local_files_only=True).vocab_size)
    except (AttributeError, KeyError, OSError, ValueError) as error:
        raise refusal(folder, "the config of a text encoder", told(error), "name another model") from error


def load_encoder(folder: Path) -> Any:
    """Gives the encoder of a model's folder, without any head, in float32."""
    with quiet():
        return AutoModel.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, local_files_only=True
        ).eval()


def draw_encoder(folder: Path, seed: int) -> Any:
    """Gives an encoder of the same shape as that in a folder, with weights drawn from ``seed``."""
    read_config(folder)
    torch.manual_seed(seed)
    return AutoModel.from_config(
        AutoConfig.from_pretrained(folder, local_files_only=True), dtype=torch.float32
    )


def read_max_input_tokens(folder: Path) -> int | None:
    """Gives how many tokens the positions of a model hold; None where they have no end."""
    return max_input_tokens(read_config(folder))


def max_input_tokens(config: Mapping[str, Any]) -> int | None:
    """Gives how many tokens the positions of a config hold; None where they have no end."""
    positions = config.get("max_position_embeddings")
    if positions is None:
        return None
    if config["model_type"] in _AFTER_PADDING:
        return int(positions) - int(config.get("pad_token_id") or 0) - 1
    return int(positions)
