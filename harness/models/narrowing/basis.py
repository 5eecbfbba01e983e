"""The directions of the residual stream that a narrower model keeps, as one matrix for the whole model.

Shapes: **D** hidden, **S** hidden of the narrower model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.models.narrowing.least_squares import Covariance
from harness.models.surgery.importance import Batch, residual_writers

EMBEDDINGS_WEIGHT = 2.0
"""The weight of the embeddings, relative to all sublayers together: no later layer can restore their loss."""


def selection_basis(dimensions: Tensor, hidden: int) -> Tensor:
    """Return the basis D × S that keeps some of the dimensions."""
    return torch.eye(hidden)[:, dimensions]


def principal_basis(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    width: int,
    *,
    embeddings_weight: float | None = EMBEDDINGS_WEIGHT,
) -> Tensor:
    """Return the orthonormal basis D × S that holds most of the residual stream's variance.

    One basis serves the whole stream, as every layer adds to the stream of the layer before. The variance is
    summed over every place that writes the stream (the embeddings, each sublayer after its norm), each around
    its own mean, which the norm's bias restores. The embeddings weigh more than another place: sublayers that
    are fitted afterwards restore some of what is lost, but not which token it was.

    Invariants: columns of norm 1, at right angles, by falling variance; padding does not count.

    Args:
        model: the model to narrow.
        batches: ``input_ids`` and ``attention_mask``.
        width: how many directions to keep.
        embeddings_weight: relative to all sublayers together; with None all places weigh alike.

    Raises:
        HarnessError: no batch.
    """
    covariances = measure_residual_covariances(model, batches)
    weight = 1.0 if embeddings_weight is None else embeddings_weight * (len(covariances) - 1)
    covariance_DD = weight * covariances[0] + torch.stack(covariances[1:]).sum(0)
    vectors_DD: Tensor = torch.linalg.eigh(covariance_DD).eigenvectors
    return vectors_DD.flip(1)[:, :width].float().contiguous()


def measure_residual_covariances(model: PreTrainedModel, batches: Iterable[Batch]) -> list[Tensor]:
    """Return the covariance D × D of the residual stream at every place that writes it; float64.

    The embeddings come first, then the sublayers.

    Raises:
        HarnessError: no batch.
    """
    places = residual_writers(model)
    sums = [Covariance() for _ in places]
    attended_BL: list[Tensor] = []

    def record(place_sums: Covariance) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output_BLD: Tensor) -> None:
            place_sums.add(output_BLD[attended_BL[-1]])

        return hook

    hooks = [
        place.register_forward_hook(record(place_sums))
        for place, place_sums in zip(places, sums, strict=True)
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                attended_BL.append(batch["attention_mask"].bool())
                model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    finally:
        for hook in hooks:
            hook.remove()
    if not attended_BL:
        raise HarnessError("narrow: expected batches of corpus text; got none; prepare the corpus first")
    return [place_sums.covariance() for place_sums in sums]
