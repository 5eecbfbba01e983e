"""Read any encoder checkpoint with the head of a task, and refuse what cannot be exported.

Nothing is unpickled, no code of a checkpoint is run, and no missing weight is made up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
from harness.families import families_that, max_input_tokens
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import ModelFolder, load_config, load_stock_model, open_model_folder
from harness.models.loading.tokenizer import check_ids_have_rows, load_tokenizer
from harness.tasks import HEADS, Head

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
    """A model with the head of a task, and its tokenizer.

    Attributes:
        task: a row of ``harness.tasks.HEADS``.
        model: a float32 transformers model.
        tokenizer: its fast tokenizer.

    Raises:
        UsageError: no such task.
        HarnessError: the model has another head, no names for its classes, or weights that are not float32.
    """

    task: str
    model: Any
    tokenizer: Any

    def __post_init__(self) -> None:
        if self.task not in HEADS:
            raise unknown("task", self.task, HEADS)
        head, name = self.head, type(self.model).__name__
        if not name.endswith(head.suffix):
            raise HarnessError(
                f"export: expected a …{head.suffix} model for the task '{self.task}'; got {name}; "
                f"fine-tune it on that task"
            )
        if head.labelled and _has_default_labels(self.labels):
            raise HarnessError(
                f"export: expected the names of the classes in the model's config; got "
                f"{', '.join(self.labels)}; set id2label"
            )
        types = {str(weight.dtype).removeprefix("torch.") for weight in self.model.parameters()}
        if types != {"float32"}:
            raise HarnessError(
                f"export: expected float32 weights; got {', '.join(sorted(types))}; call model.float()"
            )

    @property
    def head(self) -> Head:
        """The head that the task needs."""
        return HEADS[self.task]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; none where the head has no classes."""
        return tuple(map(str, self.model.config.id2label.values())) if self.head.labelled else ()

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The graph's inputs: what the tokenizer returns and the model takes.

        ``token_type_ids`` are among them only where the model tells one type from another.
        """
        takes = inspect.signature(self.model.forward).parameters
        names = [name for name in _INPUTS if name in self.tokenizer.model_input_names and name in takes]
        if self.token_types < 2 and "token_type_ids" in names:
            names.remove("token_type_ids")
        if "input_ids" not in names:
            raise HarnessError(
                f"export: expected a model and a tokenizer that share 'input_ids'; got "
                f"{', '.join(self.tokenizer.model_input_names)}; pass the model's own tokenizer"
            )
        return tuple(names)

    @property
    def token_types(self) -> int:
        """How many token types the model has; at least one."""
        return count_token_types(self.model)

    @property
    def max_tokens(self) -> int:
        """How many tokens the model takes: its positions, less those that RoBERTa keeps for padding."""
        return cast("int", max_input_tokens(self.model.config.to_dict()))


def _has_default_labels(labels: tuple[str, ...]) -> bool:
    return labels == tuple(f"LABEL_{number}" for number in range(len(labels)))


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
    if folder.model_type not in (exportable := families_that("export")):
        expected = f"an architecture of {', '.join(exportable)}"
        raise folder.error(expected, f"'{folder.model_type}'", "choose an encoder of these")
    tokenizer = load_tokenizer(folder)
    source = ExportSource(task, _load_model(folder, task), tokenizer)
    check_ids_have_rows(folder, tokenizer, source.model.get_input_embeddings().num_embeddings)
    return source


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
    """Return whether the architecture's bare model has a pooler, which a masked-language model lacks."""
    bare = AutoModel._model_mapping[type(load_config(folder))]
    return "add_pooling_layer" in inspect.signature(bare.__init__).parameters
