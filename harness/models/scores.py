"""How much each FFN neuron matters: by its weights, or by what the loss would feel without it.

Scored on corpus text, never on an evaluation set. Shapes: **B** batch, **L** length, **D** hidden, **F** FFN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import LongTensor, Tensor, nn
from transformers import PreTrainedModel

from harness.errors import HarnessError, unknown
from harness.models.families import family_of

Batch = Mapping[str, Tensor]
Kind = Literal["magnitude", "taylor"]
KINDS: tuple[str, ...] = ("magnitude", "taylor")


def score_ffn(model: PreTrainedModel, batches: Iterable[Batch], kind: Kind) -> list[Tensor]:
    """Gives for each layer the importance of its neurons, a tensor F of zeros or more.

    - ``magnitude``: the norm of the row that writes a neuron times the norm of the column that reads it.
    - ``taylor``: ``Σ_batches |Σ_tokens h · ∂loss/∂h|`` of the MLM loss: to first order, how much the loss of
      a batch changes when the neuron's activation h is set to zero (Molchanov et al. 2019,
      arXiv:1906.10771, the first-order criterion with the activation as gate, unsquared).

    Holds: the model's weights, gradients and mode are left as they were.

    Args:
        model: the model to score.
        batches: ``input_ids``, ``attention_mask`` and ``labels`` on the model's device; ``taylor`` only.
        kind: the score.

    Raises:
        HarnessError: ``taylor`` without a batch, or with a batch without labels.
    """
    if kind == "magnitude":
        return [_magnitude(ffn_in, ffn_out) for ffn_in, ffn_out in _ffn_maps(model)]
    if kind == "taylor":
        return _taylor(model, batches)
    raise unknown("score", kind, KINDS)


def keep_top(scores: Sequence[Tensor], width: int) -> list[LongTensor]:
    """Gives for each layer the ``width`` best neurons in ascending order; of equals the first wins.

    Raises:
        HarnessError: more asked for than there are, or none.
    """
    if not scores or not 0 < width <= min(len(score) for score in scores):
        most = min((len(score) for score in scores), default=0)
        raise HarnessError(f"prune: wanted 1 to {most} neurons a layer; got {width}; choose another width")
    ranked = [torch.argsort(score, descending=True, stable=True)[:width] for score in scores]
    return [cast("LongTensor", kept.sort().values.cpu()) for kept in ranked]


def _ffn_maps(model: PreTrainedModel) -> Iterator[tuple[nn.Linear, nn.Linear]]:
    family = family_of(model)
    for number in range(model.config.num_hidden_layers):
        layer = f"{family.layers}.{number}"
        ffn_in, ffn_out = (model.get_submodule(f"{layer}.{path}") for path in (family.ffn_in, family.ffn_out))
        yield cast("nn.Linear", ffn_in), cast("nn.Linear", ffn_out)


def _magnitude(ffn_in: nn.Linear, ffn_out: nn.Linear) -> Tensor:
    norm = torch.linalg.vector_norm
    score_F: Tensor = norm(ffn_in.weight.detach(), dim=1) * norm(ffn_out.weight.detach(), dim=0)
    return score_F


def _taylor(model: PreTrainedModel, batches: Iterable[Batch]) -> list[Tensor]:
    scores: list[Tensor] = []
    with _watched(model) as activations:
        for batch in batches:
            if "labels" not in batch:
                raise HarnessError("score: wanted batches with labels; got none; mask them first")
            activations.clear()
            with torch.enable_grad():
                loss = model(**batch).loss
            gradients = torch.autograd.grad(loss, activations)
            found = [_gate(*pair) for pair in zip(activations, gradients, strict=True)]
            scores = [one + two for one, two in zip(scores, found, strict=True)] if scores else found
    if not scores:
        raise HarnessError("score: wanted batches of corpus text; got none; prepare the corpus first")
    return scores


def _gate(activation_BLF: Tensor, gradient_BLF: Tensor) -> Tensor:
    return (activation_BLF.detach() * gradient_BLF).sum((0, 1)).abs()


@contextmanager
def _watched(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Records the FFN activations of a pass, in the order of the layers, with the weights held constant."""
    activations: list[Tensor] = []
    training, wanted = model.training, [parameter.requires_grad for parameter in model.parameters()]

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        activations.append(inputs[0])

    def enter(_: nn.Module, __: Any, output_BLD: Tensor) -> Tensor:
        return output_BLD.requires_grad_()

    hooks = [ffn_out.register_forward_pre_hook(record) for _, ffn_out in _ffn_maps(model)]
    hooks.append(model.get_input_embeddings().register_forward_hook(enter))
    model.eval().requires_grad_(False)
    try:
        yield activations
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
        for parameter, flag in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)
