"""Fine-tune with only the rows of the word embeddings that a task's text uses.

A task names a few thousand tokens of a multilingual vocabulary. The other rows get no gradient: AdamW changes
them by its weight decay alone, a factor that is the same for every row, so that they need not be trained.

Shapes: **V** vocabulary, **U** used rows, **D** hidden, **N** tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import TrainerCallback

from harness.train.finetuning.encoding import EncodedExamples


class UsedRows(nn.Embedding):
    """Word embeddings that hold the used rows of a larger table, and take the larger table's ids.

    Invariants: the vector of a used id is the table's; another id is an error.

    Args:
        table: the larger table, V × D.
        ids_U: the used ids, in ascending order.
    """

    places_V: Tensor
    decay: Tensor

    def __init__(self, table: nn.Embedding, ids_U: Tensor) -> None:
        places_V = torch.full((table.num_embeddings,), len(ids_U))
        places_V[ids_U] = torch.arange(len(ids_U))
        padding = None if table.padding_idx is None else int(places_V[table.padding_idx])
        rows_UD = table.weight.detach()[ids_U]
        super().__init__(len(ids_U), table.embedding_dim, padding_idx=padding, _weight=rows_UD)
        self.register_buffer("places_V", places_V, persistent=False)
        self.register_buffer("decay", torch.ones((), dtype=torch.float64))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """Return the vectors of ids of the larger table."""
        return embedding(self.places_V[input], self.weight, self.padding_idx)


class UsedRowsTraining(TrainerCallback):  # type: ignore[misc]
    """Replace a model's word embeddings by their used rows for a training, and put the whole table back.

    Invariants: the model then equals one whose whole table was trained, up to the rounding of sums: the used
    rows are as trained, the others shrunk by the weight decay of the steps before the loaded weights.

    Args:
        model: a task model whose word embeddings are an ordinary table, used in one place.
        name: of the word embeddings' module.
        ids_U: the used ids, in ascending order.
    """

    def __init__(self, model: nn.Module, name: str, ids_U: Tensor) -> None:
        self.name = name
        self.ids_U = ids_U
        table = model.get_submodule(name)
        assert isinstance(table, nn.Embedding)
        self.table = table
        self.rows = UsedRows(table, ids_U)
        model.set_submodule(name, self.rows)

    def on_pre_optimizer_step(self, *trainer: Any, optimizer: Any, **_: Any) -> None:
        """Multiply into the factor of the unused rows what the step's weight decay takes from them."""
        del trainer
        for group in optimizer.param_groups:
            if any(parameter is self.rows.weight for parameter in group["params"]):
                self.rows.decay *= 1 - group["lr"] * group["weight_decay"]

    @torch.no_grad()
    def put_back(self, model: nn.Module) -> None:
        """Put the whole table back into the model, whose weights are on the CPU."""
        self.table.weight.mul_(float(self.rows.decay))
        self.table.weight[self.ids_U] = self.rows.weight
        model.set_submodule(self.name, self.table)


def train_used_rows(model: Any, encoded: Iterable[EncodedExamples]) -> UsedRowsTraining | None:
    """Replace a model's word embeddings by the rows that encoded examples use.

    Returns:
        the callback of the training that puts the whole table back; None, and the model as it was, where the
        word embeddings are not trained, are used in two places, or are not an ordinary table.
    """
    name = _find_table(model)
    if name is None:
        return None
    padding = model.get_submodule(name).padding_idx
    ids = {token for part in encoded for row in part.rows for token in row["input_ids"]}
    ids |= {part.pad_id for part in encoded} | ({padding} - {None})
    return UsedRowsTraining(model, name, torch.from_numpy(np.array(sorted(ids), np.int64)))


def _find_table(model: Any) -> str | None:
    """Return the name of the word embeddings if they are an ordinary table that is trained in one place."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        return None
    ordinary = type(table) is nn.Embedding and table.max_norm is None and not table.scale_grad_by_freq
    if not ordinary or table.sparse or not table.weight.requires_grad:
        return None
    modules = [name for name, module in model.named_modules(remove_duplicate=False) if module is table]
    weights = [one for _, one in model.named_parameters(remove_duplicate=False) if one is table.weight]
    return modules[0] if len(modules) == len(weights) == 1 else None
