"""Reads any encoder checkpoint with the head of a task, ours or not, and refuses what could not be exported.

Nothing is unpickled, no code of a checkpoint is run, and no missing weight is made up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from harness.errors import unknown
from harness.export.heads import HEADS, head_of
from harness.models.loading.checkpoint import quiet
from harness.models.loading.folder import check_ids, read_config, read_tokenizer, refusal, told

ARCHITECTURES = ("bert", "xlm-roberta", "roberta", "camembert", "distilbert", "modernbert", "electra")
_STOCK: Mapping[str, Any] = MappingProxyType(
    {
        "ForTokenClassification": AutoModelForTokenClassification,
        "ForSequenceClassification": AutoModelForSequenceClassification,
        "ForMaskedLM": AutoModelForMaskedLM,
        "Model": AutoModel,
    }
)


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
    kind = read_config(folder)["model_type"]
    if kind not in ARCHITECTURES:
        wanted = f"an architecture of {', '.join(ARCHITECTURES)}"
        raise refusal(folder, wanted, f"'{kind}'", "choose an encoder of these")
    model = _model(folder, task)
    head_of(model, task)
    tokenizer = read_tokenizer(folder)
    check_ids(folder, tokenizer, model.get_input_embeddings().num_embeddings)
    return Source(model, tokenizer)


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
        raise refusal(folder, f"a …{suffix} model that loads", told(error), "save it again") from error
    if missing := sorted(faults["missing_keys"]):
        advice = f"fine-tune it on '{task}'" if suffix.endswith("Classification") else "save it again"
        wanted = f"weights of a …{suffix} model for the task '{task}'"
        raise refusal(folder, wanted, f"none for '{missing[0]}' ({len(missing)} missing)", advice)
    return model.eval()


def _has_pooler(folder: Path) -> bool:
    """Says whether the architecture's bare model comes with a pooler, which a masked-language model lacks."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    made = AutoModel._model_mapping[type(config)]
    return "add_pooling_layer" in inspect.signature(made.__init__).parameters
