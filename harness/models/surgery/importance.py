"""How much each FFN neuron, and each residual dimension, matters: by its weights, or by what the loss feels.

Scored on corpus text, never on an evaluation set. Shapes: **B** batch, **L** length, **D** hidden, **F** FFN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import LongTensor, Tensor, nn
from transformers import PreTrainedModel

from harness.errors import HarnessError, unknown
from harness.models.families.table import check_residual_width, find_layout
from harness.ops import linear_gelu_linear

Batch = Mapping[str, Tensor]
Criterion = Literal["magnitude", "taylor", "taylor_logits"]
CRITERIA: tuple[str, ...] = ("magnitude", "taylor", "taylor_logits")
_FUSED_ACTIVATION = "gelu"
"""What `harness.ops.linear_gelu_linear` computes; the FFN of another is scored by what it is seen to do."""


def measure_ffn_importance(model: PreTrainedModel, batches: Iterable[Batch], kind: Criterion) -> list[Tensor]:
    """Gives for each layer the importance of its neurons, a tensor F of zeros or more.

    - ``magnitude``: the norm of the row that writes a neuron times the norm of the column that reads it.
    - ``taylor``: ``Σ_batches |Σ_tokens h · ∂loss/∂h|`` of the MLM loss: to first order, how much the loss of
      a batch changes when the neuron's activation h is set to zero (Molchanov et al. 2019,
      arXiv:1906.10771, the first-order criterion with the activation as gate, unsquared). An FFN with GELU
      is scored by the backward pass of `harness.ops.linear_gelu_linear`, at no pass more.
    - ``taylor_logits``: the same of the loss of the model's own best guesses, at every attended place or,
      where batches have labels, at those asked; no label is read, so that any text will do.

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
    if kind in CRITERIA:
        if getattr(model.config, "hidden_act", None) == _FUSED_ACTIVATION:
            return _taylor_fused(model, batches, kind)
        return _taylor(model, batches, [ffn_out for _, ffn_out in _ffn_maps(model)], kind=kind)
    raise unknown("score", kind, CRITERIA)


def measure_hidden_importance(model: PreTrainedModel, batches: Iterable[Batch], kind: Criterion) -> Tensor:
    """Gives the importance of each dimension of the residual stream, a tensor D of zeros or more.

    - ``magnitude``: the norm of all weights that read or write a dimension; gains and biases of norms count.
    - ``taylor``: as `score_ffn`, summed over every place that writes the stream (embeddings, each sublayer).

    The dimensions to keep are ``keep_top([score], hidden)[0]``, for `harness.models.surgery.axes.narrow`.

    Raises:
        HarnessError: an Electra whose embeddings are as wide as its hidden states.
    """
    check_residual_width(model)
    if kind == "magnitude":
        return _magnitude_hidden(model)
    if kind in CRITERIA:
        return torch.stack(_taylor(model, batches, residual_writers(model), kind=kind, read=False)).sum(0)
    raise unknown("score", kind, CRITERIA)


def measure_head_importance(
    model: PreTrainedModel, batches: Iterable[Batch], kind: Criterion
) -> list[Tensor]:
    """Gives for each layer the importance of its heads, a tensor H of zeros or more.

    - ``magnitude``: the norm of the map that each head writes by.
    - ``taylor`` and ``taylor_logits``: as `score_ffn`, of all a head's dimensions as one gate (Michel et al.
      2019, arXiv:1905.10650, equation 2, over batches and not over sequences).

    The heads to keep are ``keep_top(scores, number)``, for `harness.models.surgery.axes.prune_heads`.
    """
    family, heads = find_layout(model), model.config.num_attention_heads
    paths = [
        f"{family.layers}.{number}.{family.attention_out}" for number in range(model.config.num_hidden_layers)
    ]
    outs = [cast("nn.Linear", model.get_submodule(path)) for path in paths]
    if kind == "magnitude":
        blocks = [out.weight.detach().reshape(out.out_features, heads, -1) for out in outs]
        return [torch.linalg.vector_norm(block_DHK, dim=(0, 2)) for block_DHK in blocks]
    if kind in CRITERIA:
        return _taylor(model, batches, outs, kind=kind, groups=heads)
    raise unknown("score", kind, CRITERIA)


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
    family = find_layout(model)
    for number in range(model.config.num_hidden_layers):
        layer = f"{family.layers}.{number}"
        ffn_in, ffn_out = (model.get_submodule(f"{layer}.{path}") for path in (family.ffn_in, family.ffn_out))
        yield cast("nn.Linear", ffn_in), cast("nn.Linear", ffn_out)


def _magnitude(ffn_in: nn.Linear, ffn_out: nn.Linear) -> Tensor:
    norm = torch.linalg.vector_norm
    width = ffn_out.in_features  # a gated FFN reads by two rows a neuron
    read_F = norm(ffn_in.weight.detach().reshape(-1, width, ffn_in.in_features), dim=(0, 2))
    score_F: Tensor = read_F * norm(ffn_out.weight.detach(), dim=0)
    return score_F


def _magnitude_hidden(model: PreTrainedModel) -> Tensor:
    family = find_layout(model)
    squares_D = torch.zeros(model.config.hidden_size, device=model.device)
    for name, tensor in model.named_parameters():
        axes = family.locate(name)[1]
        if "D" in axes:
            others = [place for place in range(tensor.dim()) if place != axes.index("D")]
            square = tensor.detach().float() ** 2
            squares_D += square.sum(others) if others else square
    return squares_D.sqrt()


def residual_writers(model: PreTrainedModel) -> list[nn.Module]:
    """Gives the modules whose output is the residual stream: the embeddings and each sublayer, in order."""
    family = find_layout(model)
    first, *others = family.residual
    numbers = range(model.config.num_hidden_layers)
    paths = [first, *(f"{family.layers}.{number}.{path}" for number in numbers for path in others)]
    return [model.get_submodule(path) for path in paths]


def _taylor(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    modules: Sequence[nn.Module],
    *,
    kind: Criterion,
    read: bool = True,
    groups: int | None = None,
) -> list[Tensor]:
    """Gives the summed gates of what the modules read, or write; dimensions of one group are one gate."""
    scores: list[Tensor] = []
    with _watched(model, modules, read=read) as activations:
        for batch in _labelled(model, batches, kind):
            activations.clear()
            with torch.enable_grad():
                loss = model(**batch).loss
            gradients = torch.autograd.grad(loss, activations)
            found = [_gate(*pair, groups) for pair in zip(activations, gradients, strict=True)]
            scores = [one + two for one, two in zip(scores, found, strict=True)] if scores else found
    return scores


def _taylor_fused(model: PreTrainedModel, batches: Iterable[Batch], kind: Criterion) -> list[Tensor]:
    """Gives the same of every FFN, added up by the op while it propagates the loss back to the embeddings."""
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    scores = [
        torch.zeros(ffn_in.out_features, dtype=dtype, device=model.device) for ffn_in, _ in _ffn_maps(model)
    ]
    entrance = [model.get_input_embeddings()]
    with _watched(model, entrance, read=False) as entered, _fused(model, scores):
        for batch in _labelled(model, batches, kind):
            entered.clear()
            with torch.enable_grad():
                loss = model(**batch).loss
            torch.autograd.grad(loss, entered)
    return scores


@contextmanager
def _fused(model: PreTrainedModel, scores: Sequence[Tensor]) -> Iterator[None]:
    """Runs every FFN as one op: the first half hands its input on, the second computes both."""
    family = find_layout(model)
    first_half = family.ffn_in.rpartition(".")[0]
    replaced: list[nn.Module] = []
    for number, (ffn_in, ffn_out) in enumerate(_ffn_maps(model)):
        handing_on = model.get_submodule(f"{family.layers}.{number}.{first_half}")
        vars(handing_on)["forward"] = _same
        vars(ffn_out)["forward"] = partial(_block, ffn_in, ffn_out, scores[number])
        replaced += [handing_on, ffn_out]
    try:
        yield
    finally:
        for module in replaced:
            del vars(module)["forward"]


def _same(x_BLD: Tensor) -> Tensor:
    return x_BLD


def _block(ffn_in: nn.Linear, ffn_out: nn.Linear, score_F: Tensor, x_BLD: Tensor) -> Tensor:
    return linear_gelu_linear(
        x_BLD, ffn_in.weight, ffn_in.bias, ffn_out.weight, ffn_out.bias, importance=score_F
    )


def _labelled(
    model: PreTrainedModel, batches: Iterable[Batch], kind: Criterion
) -> Iterator[dict[str, Tensor]]:
    """Gives the batches with what is asked of the model in them.

    Raises:
        HarnessError: there is none, or one lacks labels that are wanted.
    """
    any_came = False
    for batch in batches:
        yield {**batch, "labels": _labels(model, batch, kind)}
        any_came = True
    if not any_came:
        raise HarnessError("score: wanted batches of corpus text; got none; prepare the corpus first")


def _labels(model: PreTrainedModel, batch: Batch, kind: Criterion) -> Tensor:
    """Gives the batch's labels, or the model's own best guesses in their place."""
    if kind == "taylor_logits":
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            guesses_BL: Tensor = model(**inputs).logits.argmax(-1)
        labels_BL = batch.get("labels")
        asked_BL = batch["attention_mask"].bool() if labels_BL is None else labels_BL != -100
        return guesses_BL.masked_fill(~asked_BL, -100)
    if "labels" not in batch:
        raise HarnessError("score: wanted batches with labels; got none; mask them first")
    return batch["labels"]


def _gate(activation_BLF: Tensor, gradient_BLF: Tensor, groups: int | None) -> Tensor:
    product_F = (activation_BLF.detach() * gradient_BLF).sum((0, 1))
    return (product_F if groups is None else product_F.view(groups, -1).sum(1)).abs()


@contextmanager
def _watched(model: PreTrainedModel, modules: Sequence[nn.Module], *, read: bool) -> Iterator[list[Tensor]]:
    """Records what the modules read, or write, in each pass, with the weights held constant."""
    activations: list[Tensor] = []
    training, wanted = model.training, [parameter.requires_grad for parameter in model.parameters()]

    def record_input(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        activations.append(inputs[0])

    def record_output(_: nn.Module, __: Any, output_BLD: Tensor) -> None:
        activations.append(output_BLD)

    def enter(_: nn.Module, __: Any, output_BLD: Tensor) -> Tensor:
        return output_BLD.requires_grad_()

    hooks = [model.get_input_embeddings().register_forward_hook(enter)]
    for module in modules:
        one = (
            module.register_forward_pre_hook(record_input)
            if read
            else module.register_forward_hook(record_output)
        )
        hooks.append(one)
    model.eval().requires_grad_(False)
    try:
        yield activations
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
        for parameter, flag in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)
