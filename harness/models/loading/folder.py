"""The folder of a saved model that others made, checked before anything of it is used.

Nothing is unpickled, no code of a checkpoint is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoTokenizer

from harness.errors import HarnessError, first_line

_TOKENIZERS = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model")
_MOST = 160


def refusal(folder: Path, wanted: str, got: str, advice: str) -> HarnessError:
    """Gives the error that tells why a model's folder will not do."""
    return HarnessError(f"model '{folder}': wanted {wanted}; got {got}; {advice}")


def told(error: Exception) -> str:
    """Gives what an error of a library says, in few words."""
    return first_line(error)[:_MOST]


def read_config(folder: Path) -> dict[str, Any]:
    """Gives what ``config.json`` says of a stock model whose weights can be read.

    Raises:
        HarnessError: no such folder; ``config.json`` is missing, no JSON object, names no architecture or
            asks for custom code; there are no safetensors, or broken ones.
    """
    config = _parsed(folder)
    if "auto_map" in config:
        got = "custom code (auto_map), which is never run"
        raise refusal(folder, "a stock model", got, "convert it to a stock class")
    if "model_type" not in config:
        raise refusal(folder, "a stock model", "no model_type in config.json", "save the model again")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = any(one.suffix in {".bin", ".pt"} for one in folder.iterdir())
        got = "only pickled weights, which are never read" if pickled else "none"
        raise refusal(folder, "weights (model.safetensors)", got, "save the model as safetensors")
    for path in weights:
        _check_weights(path)
    return config


def _parsed(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise refusal(folder, "the folder of a saved model", got, "name the folder that holds config.json")
    path = folder / "config.json"
    if not path.is_file():
        raise refusal(folder, "a saved model (config.json)", "a folder without one", "name a model's folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise refusal(folder, "JSON in config.json", told(error), "save the model again") from error
    if not isinstance(config, dict):
        raise refusal(folder, "an object in config.json", type(config).__name__, "save the model again")
    return config


def _check_weights(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except Exception as error:  # a class of its own, or an OSError
        got = f"a broken file ({told(error)})"
        raise refusal(path.parent, f"whole weights in {path.name}", got, "fetch or save it again") from error


def read_tokenizer(folder: Path) -> Any:
    """Gives the tokenizer beside a model, a fast one: it tells which word a sub-word is of.

    Raises:
        HarnessError: there is none, one that does not load, or a slow one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers raise whatever their Rust side raised
        if not any((folder / name).is_file() for name in _TOKENIZERS):
            wanted = f"a tokenizer ({', '.join(_TOKENIZERS)})"
            raise refusal(folder, wanted, "none", "save it beside the model") from error
        raise refusal(folder, "a tokenizer that loads", told(error), "save it beside the model") from error
    if not tokenizer.is_fast:
        got = f"{type(tokenizer).__name__}, a slow one, which does not tell which word a sub-word is of"
        raise refusal(folder, "a fast tokenizer (tokenizer.json)", got, "convert it with transformers")
    return tokenizer


def check_ids(folder: Path, tokenizer: Any, rows: int) -> None:
    """Holds a tokenizer to the rows of the model's embeddings.

    Raises:
        HarnessError: it has more ids.
    """
    if len(tokenizer) > rows:
        wanted, got = f"a tokenizer of at most {rows:,} ids", f"{len(tokenizer):,}"
        raise refusal(folder, wanted, got, "use the tokenizer the model was trained with")
