"""Reads any encoder checkpoint with the head of a task, ours or not, and refuses what could not be exported.

Nothing is unpickled, no code of a checkpoint is run, and no missing weight is made up.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from harness.errors import HarnessError, unknown
from harness.export.heads import HEADS, head_of
from harness.models.checkpoint import quiet

ARCHITECTURES = ("bert", "xlm-roberta", "roberta", "camembert", "distilbert", "modernbert", "electra")
_STOCK: Mapping[str, Any] = MappingProxyType(
    {
        "ForTokenClassification": AutoModelForTokenClassification,
        "ForSequenceClassification": AutoModelForSequenceClassification,
        "ForMaskedLM": AutoModelForMaskedLM,
        "Model": AutoModel,
    }
)
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model")


class Source(NamedTuple):
    """A model with its task's head, and its tokenizer."""

    model: Any
    tokenizer: Any


def read_source(folder: Path, task: str) -> Source:
    """Reads a saved model as the task wants it: float32, evaluation mode, with names for its classes.

    Args:
        folder: of a saved transformers model with its tokenizer.
        task: a row of ``harness.export.heads.HEADS``.

    Raises:
        UsageError: no such task.
        HarnessError: no model there, an architecture that is not supported, weights or a head that are
            missing or broken, classes without names; one line each.
    """
    if task not in HEADS:
        raise unknown("task", task, HEADS)
    settings = _settings(folder)
    _check(folder, settings)
    model = _model(folder, task)
    head_of(model, task)
    tokenizer = _tokenizer(folder)
    rows, ids = model.get_input_embeddings().num_embeddings, len(tokenizer)
    if ids > rows:
        raise _refusal(
            folder,
            f"a tokenizer of at most {rows:,} ids, the rows of the embeddings",
            f"{ids:,}",
            "use the model's own",
        )
    return Source(model, tokenizer)


def _refusal(folder: Path, wanted: str, got: str, advice: str) -> HarnessError:
    return HarnessError(f"export '{folder}': wanted {wanted}; got {got}; {advice}")


def _settings(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise _refusal(folder, "the folder of a saved model", got, "name the folder that holds config.json")
    path = folder / "config.json"
    if not path.is_file():
        raise _refusal(folder, "a saved model (config.json)", "a folder without one", "name a model's folder")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _refusal(folder, "JSON in config.json", _told(error), "save the model again") from error
    if not isinstance(settings, dict):
        raise _refusal(folder, "an object in config.json", type(settings).__name__, "save the model again")
    return settings


def _check(folder: Path, settings: Mapping[str, Any]) -> None:
    kind = settings.get("model_type")
    if kind not in ARCHITECTURES:
        wanted = f"an architecture of {', '.join(ARCHITECTURES)}"
        raise _refusal(folder, wanted, f"'{kind}'" if kind else "none named", "choose an encoder of these")
    if "auto_map" in settings:
        raise _refusal(
            folder,
            "a stock model",
            "custom code (auto_map), which is never run",
            "convert it to a stock class",
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = any(one.suffix in {".bin", ".pt"} for one in folder.iterdir())
        got = "only pickled weights, which are never read" if pickled else "none"
        raise _refusal(folder, "weights (model.safetensors)", got, "save the model as safetensors")
    for path in weights:
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise _refusal(folder, f"whole weights in {path.name}", _told(error), "save it again") from error
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise _refusal(folder, f"a tokenizer ({', '.join(_TOKENIZERS)})", "none", "save it beside the model")


def _model(folder: Path, task: str) -> Any:
    suffix = HEADS[task].suffix
    stock = _STOCK[suffix]
    extra = {"add_pooling_layer": False} if suffix == "Model" and _has_pooler(folder) else {}
    try:
        with quiet():
            model, faults = stock.from_pretrained(
                folder,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                local_files_only=True,
                **extra,
            )
    except Exception as error:  # transformers raises whatever its parts raise
        raise _refusal(folder, f"a …{suffix} model that loads", _told(error), "save it again") from error
    if missing := sorted(faults["missing_keys"]):
        advice = f"fine-tune it on '{task}'" if suffix.endswith("Classification") else "save it again"
        wanted = f"weights of a …{suffix} model for the task '{task}'"
        raise _refusal(folder, wanted, f"none for '{missing[0]}' ({len(missing)} missing)", advice)
    return model.eval()


def _has_pooler(folder: Path) -> bool:
    """Says whether the architecture's bare model comes with a pooler, which a masked-language model lacks."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    made = AutoModel._model_mapping[type(config)]
    return "add_pooling_layer" in inspect.signature(made.__init__).parameters


def _tokenizer(folder: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers raise whatever their Rust side raised
        raise _refusal(folder, "a tokenizer that loads", _told(error), "save it again") from error
    if not tokenizer.is_fast:
        raise _refusal(folder, "a fast tokenizer", type(tokenizer).__name__, "save it as tokenizer.json")
    return tokenizer


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
