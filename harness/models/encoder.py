"""Encoders that others made: any stock checkpoint that can be fine-tuned, with or without an MLM head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoTokenizer

from harness.errors import HarnessError
from harness.models.checkpoint import quiet

_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")
"""Families that number positions from the padding token's id on."""

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
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers raise whatever their Rust side raised
        told = " ".join(str(error).split())[:160]
        raise _refusal(folder, "a tokenizer that loads", told, "save it beside the model") from error
    if not tokenizer.is_fast:
        got = f"{type(tokenizer).__name__}, a slow one, which does not tell which word a sub-word is of"
        raise _refusal(folder, "a fast tokenizer (tokenizer.json)", got, "convert it with transformers")
    if lacking := [told for told, names in _NEEDED.items() if not _has_one(tokenizer, names)]:
        advice = "set it in tokenizer_config.json"
        raise _refusal(folder, f"a token for {' and '.join(_NEEDED)}", f"none for {lacking[0]}", advice)
    if len(tokenizer) > rows:
        advice = "use the tokenizer the model was trained with"
        raise _refusal(folder, f"a tokenizer of at most {rows:,} ids", f"{len(tokenizer):,}", advice)
    return tokenizer


def _has_one(tokenizer: Any, names: Sequence[str]) -> bool:
    return any(getattr(tokenizer, f"{name}_token_id") is not None for name in names)


def _num_rows(folder: Path) -> int:
    """Gives the rows of the embeddings, also where ``config.json`` leaves them to the class."""
    read_config(folder)
    try:
        return int(AutoConfig.from_pretrained(folder, local_files_only=True).vocab_size)
    except (AttributeError, KeyError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:160]
        raise _refusal(folder, "the config of a text encoder", told, "name another model") from error


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


def read_config(folder: Path) -> dict[str, Any]:
    """Gives what ``config.json`` says of a model that can be scored.

    Raises:
        HarnessError: it is missing, no JSON object, or asks for custom code; or there are no safetensors.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise _refusal(folder, "config.json", "none", "name the folder of a saved model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _refusal(folder, "JSON in config.json", type(error).__name__, "fetch it again") from error
    if not isinstance(config, dict) or "model_type" not in config or "auto_map" in config:
        got = "custom code (auto_map), which is never run" if "auto_map" in config else "no model_type"
        raise _refusal(folder, "a stock model", got, "convert it to a stock class")
    if not list(folder.glob("*.safetensors")):
        advice = "save the model as safetensors: pickled weights are never read"
        raise _refusal(folder, "weights (model.safetensors)", "none", advice)
    for weights in sorted(folder.glob("*.safetensors")):
        _check_weights(weights)
    return config


def _check_weights(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except Exception as error:  # a class of its own, or an OSError
        got = f"a broken file ({' '.join(str(error).split())[:120]})"
        raise _refusal(path.parent, f"whole weights in {path.name}", got, "fetch it again") from error


def longest_input(folder: Path) -> int | None:
    """Gives how many tokens the positions of a model hold; None where they have no end."""
    config = read_config(folder)
    positions = config.get("max_position_embeddings")
    if positions is None:
        return None
    if config["model_type"] in _AFTER_PADDING:
        return int(positions) - int(config.get("pad_token_id") or 0) - 1
    return int(positions)


def _refusal(folder: Path, wanted: str, got: str, advice: str) -> HarnessError:
    return HarnessError(f"model '{folder}': wanted {wanted}; got {got}; {advice}")
