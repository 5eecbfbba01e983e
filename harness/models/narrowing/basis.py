"""Which directions of the residual stream a narrower model keeps, as one matrix for the whole model.

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


def first_dimensions(width: int) -> Tensor:
    """Gives the first dimensions."""
    return torch.arange(width)


def selection_basis(dimensions: Tensor, hidden: int) -> Tensor:
    """Gives the basis D × S that keeps the dimensions named."""
    return torch.eye(hidden)[:, dimensions]


EMBEDDINGS_WEIGHT = 2.0
"""How much the embeddings count beside all sublayers together: what they lose, no later layer can know."""


def principal_basis(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    width: int,
    *,
    embeddings_weight: float | None = EMBEDDINGS_WEIGHT,
) -> Tensor:
    """Gives the orthonormal basis D × S that holds most of the residual stream's variance.

    One basis serves the whole stream, as every layer adds to what the one before it passes on. The variance
    is the sum of those at every place that writes the stream (the embeddings, each sublayer after its norm),
    each around its own mean, which a norm's bias gives back. The embeddings weigh more than one place among
    many: sublayers that are fitted anew mend some of what is lost, but not which token stood there.

    Holds: columns of norm 1, at right angles, those of most variance first; padding does not count.

    Args:
        model: the model to narrow.
        batches: ``input_ids`` and ``attention_mask``.
        width: how many directions to keep.
        embeddings_weight: of the embeddings beside all sublayers together; none: a place is a place.

    Raises:
        HarnessError: no batch.
    """
    covariances = measure_residual_covariances(model, batches)
    embeddings_share = 1.0 if embeddings_weight is None else embeddings_weight * (len(covariances) - 1)
    covariance_DD = embeddings_share * covariances[0] + torch.stack(covariances[1:]).sum(0)
    vectors_DD: Tensor = torch.linalg.eigh(covariance_DD).eigenvectors
    return vectors_DD.flip(1)[:, :width].float().contiguous()


def measure_residual_covariances(model: PreTrainedModel, batches: Iterable[Batch]) -> list[Tensor]:
    """Gives the covariance D × D of the residual stream at every place that writes it; float64.

    The embeddings come first, the sublayers after them.

    Raises:
        HarnessError: no batch.
    """
    places = residual_writers(model)
    spreads = [Covariance() for _ in places]
    attended_BL: list[Tensor] = []

    def watch(spread: Covariance) -> Callable[[nn.Module, Any, Tensor], None]:
        def record(_: nn.Module, __: Any, output_BLD: Tensor) -> None:
            spread.add(output_BLD[attended_BL[-1]])

        return record

    hooks = [place.register_forward_hook(watch(one)) for place, one in zip(places, spreads, strict=True)]
    try:
        with torch.no_grad():
            for batch in batches:
                attended_BL.append(batch["attention_mask"].bool())
                model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    finally:
        for hook in hooks:
            hook.remove()
    if not attended_BL:
        raise HarnessError("narrow: wanted batches of corpus text; got none; prepare the corpus first")
    return [spread.covariance() for spread in spreads]
