"""Read any encoder checkpoint with the head of a task, and refuse what cannot be exported.

Nothing is unpickled, no code of a checkpoint is run, and no missing weight is made up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from harness.errors import HarnessError, unknown
from harness.export.labels import HeadLabels, Problem, read_labels
from harness.families import list_families, max_input_tokens
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import ModelFolder, open_model_folder
from harness.models.loading.settings import load_config
from harness.models.loading.stock import load_stock_model
from harness.models.loading.tokenizer import check_ids_have_rows, load_tokenizer
from harness.tasks import HEADS, TaskHead

_STOCK: Mapping[str, Any] = MappingProxyType(
    {
        "ForTokenClassification": AutoModelForTokenClassification,
        "ForSequenceClassification": AutoModelForSequenceClassification,
        "ForMaskedLM": AutoModelForMaskedLM,
        "Model": AutoModel,
    }
)
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class ExportSource:
    """A model with the head of a task, and its tokenizer; :func:`prepare_source` makes it.

    Attributes:
        task: a row of ``harness.tasks.HEADS``.
        head: the head that the task needs.
        model: a float32 transformers model.
        tokenizer: its fast tokenizer.
        labels: the names of the classes; none where the head has no classes.
        problem: of a head with classes, transformers' name for what its outputs mean; ``meaning`` in words.
        meaning: see ``problem``.
        inputs: of the graph: what the tokenizer returns and the model takes. ``token_type_ids`` are among
            them only where the model tells one type from another.
        token_types: how many token types the model has; at least one.
        max_tokens: how many tokens the model takes: its positions, less RoBERTa's for padding.
    """

    task: str
    head: TaskHead
    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    problem: Problem | None
    meaning: str | None
    inputs: tuple[str, ...]
    token_types: int
    max_tokens: int


def prepare_source(task: str, model: Any, tokenizer: Any) -> ExportSource:
    """Check that a model can be exported for a task.

    Raises:
        UsageError: no such task.
        HarnessError: the model has another head, no names for its classes, or weights that are not float32;
            the tokenizer is another model's.
    """
    if task not in HEADS:
        raise unknown("task", task, HEADS)
    head, name = HEADS[task], type(model).__name__
    if not name.endswith(head.suffix):
        raise HarnessError(
            f"export: expected a …{head.suffix} model for the task '{task}'; got {name}; "
            f"fine-tune it on that task"
        )
    labels = _read_head(head, model.config.to_dict(), "export")
    types = {str(weight.dtype).removeprefix("torch.") for weight in model.parameters()}
    if types != {"float32"}:
        raise HarnessError(
            f"export: expected float32 weights; got {', '.join(sorted(types))}; call model.float()"
        )
    token_types = count_token_types(model.config)
    takes = set(inspect.signature(model.forward).parameters) & set(tokenizer.model_input_names)
    if "input_ids" not in takes:
        raise HarnessError(
            f"export: expected a model and a tokenizer that share 'input_ids'; got "
            f"{', '.join(tokenizer.model_input_names)}; pass the model's own tokenizer"
        )
    if token_types < 2:
        takes.discard("token_type_ids")
    return ExportSource(
        task=task,
        head=head,
        model=model,
        tokenizer=tokenizer,
        labels=labels.names if labels else (),
        problem=labels.problem if labels else None,
        meaning=labels.meaning if labels else None,
        inputs=tuple(name for name in _INPUTS if name in takes),
        token_types=token_types,
        max_tokens=cast("int", max_input_tokens(model.config.to_dict())),
    )


def load_source(path: Path, task: str) -> ExportSource:
    """Load a saved model as an export needs it: float32, evaluation mode, with names for its classes.

    Args:
        path: the folder of a saved transformers model with its tokenizer.
        task: a row of ``harness.tasks.HEADS``.

    Raises:
        UsageError: no such task.
        HarnessError: no model there, an architecture that is not supported, weights or a head that are
            missing or broken, classes without names; one line each.
    """
    if task not in HEADS:
        raise unknown("task", task, HEADS)
    folder = open_model_folder(path)
    if folder.model_type not in (exportable := list_families("export")):
        expected = f"an architecture of {', '.join(exportable)}"
        raise folder.error(expected, f"'{folder.model_type}'", "choose an encoder of these")
    labels = _read_head(HEADS[task], folder.config, f"model '{folder.name}'")
    model, tokenizer = _load_model(folder, task, labels), load_tokenizer(folder)
    check_ids_have_rows(folder, tokenizer, model.get_input_embeddings().num_embeddings)
    return prepare_source(task, model, tokenizer)


def _read_head(head: TaskHead, config: Mapping[str, Any], where: str) -> HeadLabels | None:
    """Return the labels of a head with classes."""
    if not head.labelled:
        return None
    return read_labels(config, kind="token" if "sequence" in head.axes else "sequence", where=where)


def _load_model(folder: ModelFolder, task: str, labels: HeadLabels | None) -> Any:
    suffix = HEADS[task].suffix
    extra = {"add_pooling_layer": False} if suffix == "Model" and _has_pooler(folder) else {}
    head = labels.to_config() if labels else None
    advice = "name the classes that the head was trained with in id2label" if labels else None
    model, missing = load_stock_model(
        folder, _STOCK[suffix], head=head, new_head=True, head_advice=advice, **extra
    )
    if missing:
        advice = f"fine-tune it on '{task}'" if labels else "save it again"
        expected = f"weights of a …{suffix} model for the task '{task}'"
        raise folder.error(expected, f"none for '{missing[0]}' ({len(missing)} missing)", advice)
    return model


def _has_pooler(folder: ModelFolder) -> bool:
    """Return whether the architecture's bare model has a pooler, which a masked-language model lacks."""
    bare = AutoModel._model_mapping[type(load_config(folder))]
    return "add_pooling_layer" in inspect.signature(bare.__init__).parameters
