"""Reads any encoder checkpoint with the head of a task, ours or not, and refuses what could not be exported.

Nothing is unpickled, no code of a checkpoint is run, and no missing weight is made up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from harness.errors import unknown
from harness.export.heads import check_head
from harness.families import families_that
from harness.models.loading.folder import ModelFolder, load_config, load_stock_model, open_model_folder
from harness.models.loading.tokenizer import check_ids_have_rows, load_tokenizer
from harness.tasks import HEADS

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
        task: a row of ``harness.tasks.HEADS``.

    Raises:
        UsageError: no such task.
        HarnessError: no model there, an architecture that is not supported, weights or a head that are
            missing or broken, classes without names; one line each.
    """
    if task not in HEADS:
        raise unknown("task", task, HEADS)
    opened = open_model_folder(folder)
    if opened.model_type not in (exportable := families_that("export")):
        expected = f"an architecture of {', '.join(exportable)}"
        raise opened.error(expected, f"'{opened.model_type}'", "choose an encoder of these")
    model = _load_model(opened, task)
    check_head(model, task)
    tokenizer = load_tokenizer(opened)
    check_ids_have_rows(opened, tokenizer, model.get_input_embeddings().num_embeddings)
    return Source(model, tokenizer)


def _load_model(folder: ModelFolder, task: str) -> Any:
    suffix = HEADS[task].suffix
    extra = {"add_pooling_layer": False} if suffix == "Model" and _has_pooler(folder) else {}
    model, missing, _ = load_stock_model(folder, _STOCK[suffix], **extra)
    if missing:
        advice = f"fine-tune it on '{task}'" if suffix.endswith("Classification") else "save it again"
        expected = f"weights of a …{suffix} model for the task '{task}'"
        raise folder.error(expected, f"none for '{missing[0]}' ({len(missing)} missing)", advice)
    return model


def _has_pooler(folder: ModelFolder) -> bool:
    """Say whether the architecture's bare model comes with a pooler, which a masked-language model lacks."""
    made = AutoModel._model_mapping[type(load_config(folder))]
    return "add_pooling_layer" in inspect.signature(made.__init__).parameters
