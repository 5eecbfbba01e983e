"""Choose the layers that stay by what the loss feels when one is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.families import FAMILIES
from harness.models.families.table import find_layout
from harness.models.surgery.axes import shorten
from harness.models.surgery.importance import Batch


class RemovedLayer(NamedTuple):
    """A layer that was left out, by its index in the whole model, and the MLM loss without it."""

    layer: int
    loss: float


def choose_by_influence(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    number: int,
    progress: Callable[[int, int, str, dict[str, Any]], None] = lambda *_: None,
) -> tuple[tuple[int, ...], list[RemovedLayer]]:
    """Return the layers to keep, and those that were left out one by one, the least missed first.

    Each time the layer goes without which the MLM loss is lowest, with all earlier ones gone already. A layer
    that must stay the first is never tried.

    Args:
        model: the model to shorten.
        batches: masked batches with labels; each is run once for every layer that is tried.
        number: of the layers that stay.
        progress: called with done, total, unit and further values.

    Raises:
        HarnessError: no batch.
    """
    if not batches:
        raise HarnessError(
            "influence: expected text to leave out layers on; got none; prepare the corpus first"
        )
    first_stays = FAMILIES[find_layout(model).model_type].first_layer_stays
    kept = list(range(model.config.num_hidden_layers))
    removed: list[RemovedLayer] = []
    total = len(kept) - number
    while len(kept) > number:
        progress(len(removed), total, "layers", {})
        tried = kept[1:] if first_stays else kept
        losses = {layer: _measure_without(model, batches, kept, layer) for layer in tried}
        least = min(losses, key=lambda layer: losses[layer])
        kept.remove(least)
        removed.append(RemovedLayer(least, losses[least]))
    return tuple(kept), removed


@torch.no_grad()
def _measure_without(
    model: PreTrainedModel, batches: Sequence[Batch], kept: Sequence[int], layer: int
) -> float:
    """Return the mean MLM loss over the labelled places, without one of the layers kept so far."""
    shorter = shorten(model, [one for one in kept if one != layer]).eval()
    total, labelled = 0.0, 0
    for batch in batches:
        count = int((batch["labels"] != -100).sum())
        total += float(shorter(**batch).loss) * count
        labelled += count
    return total / labelled
