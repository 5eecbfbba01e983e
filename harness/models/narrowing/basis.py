"""The directions of the residual stream that a narrower model keeps, as one matrix for the whole model.

Shapes: **D** hidden, **S** hidden of the narrower model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.models.families.table import find_layout
from harness.models.narrowing.activations import norm_eps
from harness.models.narrowing.least_squares import Covariance
from harness.models.surgery.importance import Batch, residual_writers

EMBEDDINGS_WEIGHT = 2.0
"""The weight of the embeddings, relative to all sublayers together: no later layer can restore their loss."""


READ_EMBEDDINGS_WEIGHT = 0.5
"""The same in a pre-norm encoder, whose sublayers read what the embeddings added."""
READ_LAST_WEIGHT = 4.0
"""There, the weight of the stream that the MLM head reads, relative to that which a sublayer reads."""


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


def principal_read_basis(model: PreTrainedModel, batches: Iterable[Batch], width: int) -> Tensor:
    """Return the orthonormal basis D × S that holds most of what a pre-norm encoder reads of the stream.

    Every place that reads the stream counts as its norm passes it on: without its mean, and each row of one
    length. No mean over the text is taken away, as no bias would restore it.

    Raises:
        HarnessError: no batch.
    """
    products = measure_read_products(model, batches)
    first, *others, last = products
    moment_DD = READ_EMBEDDINGS_WEIGHT * len(others) * first + READ_LAST_WEIGHT * last
    vectors_DD: Tensor = torch.linalg.eigh(moment_DD + torch.stack(others).sum(0)).eigenvectors
    return vectors_DD.flip(1)[:, :width].float().contiguous()


def measure_residual_covariances(model: PreTrainedModel, batches: Iterable[Batch]) -> list[Tensor]:
    """Return the covariance D × D of the residual stream at every place that writes it; float64.

    The embeddings come first, then the sublayers.

    Raises:
        HarnessError: no batch.
    """
    sums = _sum_rows(model, batches, residual_writers(model), lambda _, output_BLD: output_BLD)
    return [place_sums.covariance() for place_sums in sums]


def measure_read_products(model: PreTrainedModel, batches: Iterable[Batch]) -> list[Tensor]:
    """Return the second moment D × D of the normed stream at every place that reads it; float64.

    The first attention reads the embeddings, and the MLM head comes last.

    Raises:
        HarnessError: no batch.
    """

    def normalise(input_BLD: Tensor, _: Tensor) -> Tensor:
        return layer_norm(input_BLD, input_BLD.shape[-1:], eps=norm_eps(model))

    sums = _sum_rows(model, batches, _list_read_norms(model), normalise)
    return [place_sums.second_moment()[:-1, :-1] for place_sums in sums]


def _list_read_norms(model: PreTrainedModel) -> list[nn.Module]:
    layout = find_layout(model)
    paths = layout.pre_norm
    assert paths is not None, "a pre-norm family has these paths"
    layers: Any = model.get_submodule(layout.layers)
    norms = [layer.get_submodule(path) for layer in layers for path in (paths.attention_norm, paths.ffn_norm)]
    return [*norms, model.get_submodule(paths.final_norm)]


def _sum_rows(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    places: Sequence[nn.Module],
    choose: Callable[[Tensor, Tensor], Tensor],
) -> list[Covariance]:
    """Return the sums of the attended rows at each place.

    Args:
        model: the model to run.
        batches: ``input_ids`` and ``attention_mask``.
        places: modules of the model.
        choose: the rows of a module's input and output.

    Raises:
        HarnessError: no batch.
    """
    sums = [Covariance() for _ in places]
    attended_BL: list[Tensor] = []

    def record(place_sums: Covariance) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, inputs: Any, output_BLD: Tensor) -> None:
            place_sums.add(choose(inputs[0] if inputs else output_BLD, output_BLD)[attended_BL[-1]])

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
    return sums
