"""The importance of FFN neurons, attention heads and hidden dimensions, by weights or by gradients.

Measured on corpus text, never on an evaluation set.

Shapes: **B** batch, **L** length, **D** hidden, **F** FFN, **H** heads.
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
from harness.models.families.table import find_layout
from harness.ops import linear_gelu_linear

Batch = Mapping[str, Tensor]
Criterion = Literal["magnitude", "taylor", "taylor_logits"]
CRITERIA: tuple[str, ...] = ("magnitude", "taylor", "taylor_logits")
_FUSED_ACTIVATION = "gelu"
"""The activation of `harness.ops.linear_gelu_linear`; an FFN with another is measured by recording it."""


def measure_ffn_importance(
    model: PreTrainedModel, batches: Iterable[Batch], criterion: Criterion
) -> list[Tensor]:
    """Return for each layer the importance of its neurons, a tensor F of zeros or more.

    - ``magnitude``: the norm of a neuron's input row times the norm of its output column.
    - ``taylor``: ``Σ_batches |Σ_tokens h · ∂loss/∂h|`` of the MLM loss: to first order, how much the loss of
      a batch changes when the neuron's activation h is set to zero (Molchanov et al. 2019,
      arXiv:1906.10771, the first-order criterion with the activation as gate, unsquared). For an FFN with
      GELU the backward pass of `harness.ops.linear_gelu_linear` adds it up, without another pass.
    - ``taylor_logits``: the same with the model's own best predictions as labels, at every attended place or,
      where batches have labels, at the labelled places; no label is read, so that any text will do.

    Invariants: the model's weights, gradients and mode are left as they were.

    Args:
        model: the model to measure.
        batches: ``input_ids``, ``attention_mask`` and ``labels`` on the model's device; ``magnitude`` reads
            none.
        criterion: how importance is measured.

    Raises:
        HarnessError: ``taylor`` without a batch, or with a batch without labels.
    """
    if criterion == "magnitude":
        return [_measure_neuron_magnitude(ffn_in, ffn_out) for ffn_in, ffn_out in _ffn_maps(model)]
    if criterion in CRITERIA:
        if getattr(model.config, "hidden_act", None) == _FUSED_ACTIVATION:
            return _measure_taylor_fused(model, batches, criterion)
        outputs = [ffn_out for _, ffn_out in _ffn_maps(model)]
        return _measure_taylor(model, batches, outputs, criterion=criterion)
    raise unknown("importance criterion", criterion, CRITERIA)


def measure_hidden_importance(
    model: PreTrainedModel, batches: Iterable[Batch], criterion: Criterion
) -> Tensor:
    """Return the importance of each dimension of the residual stream, a tensor D of zeros or more.

    - ``magnitude``: the norm of all weights that read or write a dimension; gains and biases of norms count.
    - ``taylor``: as `measure_ffn_importance`, summed over every place that writes the stream (the embeddings,
      each sublayer).

    The dimensions to keep are ``keep_top([importance], hidden)[0]``, for `surgery.axes.narrow`.
    """
    if criterion == "magnitude":
        return _measure_hidden_magnitude(model)
    if criterion in CRITERIA:
        writers = residual_writers(model)
        return torch.stack(_measure_taylor(model, batches, writers, criterion=criterion, inputs=False)).sum(0)
    raise unknown("importance criterion", criterion, CRITERIA)


def measure_head_importance(
    model: PreTrainedModel, batches: Iterable[Batch], criterion: Criterion
) -> list[Tensor]:
    """Return for each layer the importance of its heads, a tensor H of zeros or more.

    - ``magnitude``: the norm of each head's output map.
    - ``taylor`` and ``taylor_logits``: as `measure_ffn_importance`, with all dimensions of a head as one gate
      (Michel et al. 2019, arXiv:1905.10650, equation 2, over batches and not over sequences).

    The heads to keep are ``keep_top(importance, number)``, for `surgery.axes.prune_heads`.
    """
    layout, heads = find_layout(model), model.config.num_attention_heads
    numbers = range(model.config.num_hidden_layers)
    paths = [f"{layout.layers}.{number}.{layout.attention_out}" for number in numbers]
    outputs = [cast("nn.Linear", model.get_submodule(path)) for path in paths]
    if criterion == "magnitude":
        blocks = [output.weight.detach().reshape(output.out_features, heads, -1) for output in outputs]
        return [torch.linalg.vector_norm(block_DHK, dim=(0, 2)) for block_DHK in blocks]
    if criterion in CRITERIA:
        return _measure_taylor(model, batches, outputs, criterion=criterion, groups=heads)
    raise unknown("importance criterion", criterion, CRITERIA)


def keep_top(importance: Sequence[Tensor], width: int) -> list[LongTensor]:
    """Return for each layer the ``width`` most important indices, ascending; of equals the first stays.

    Raises:
        HarnessError: more asked for than there are, or none.
    """
    most = min((len(layer) for layer in importance), default=0)
    if not 0 < width <= most:
        raise HarnessError(f"prune: expected 1 to {most} neurons a layer; got {width}; choose another width")
    ranked = [torch.argsort(layer, descending=True, stable=True)[:width] for layer in importance]
    return [cast("LongTensor", kept.sort().values.cpu()) for kept in ranked]


def residual_writers(model: PreTrainedModel) -> list[nn.Module]:
    """Return the modules whose output is the residual stream: the embeddings and each sublayer, in order."""
    layout = find_layout(model)
    first, *others = layout.residual
    numbers = range(model.config.num_hidden_layers)
    paths = [first, *(f"{layout.layers}.{number}.{path}" for number in numbers for path in others)]
    return [model.get_submodule(path) for path in paths]


def _ffn_maps(model: PreTrainedModel) -> Iterator[tuple[nn.Linear, nn.Linear]]:
    layout = find_layout(model)
    for number in range(model.config.num_hidden_layers):
        layer = f"{layout.layers}.{number}"
        ffn_in, ffn_out = (model.get_submodule(f"{layer}.{path}") for path in (layout.ffn_in, layout.ffn_out))
        yield cast("nn.Linear", ffn_in), cast("nn.Linear", ffn_out)


def _measure_neuron_magnitude(ffn_in: nn.Linear, ffn_out: nn.Linear) -> Tensor:
    norm = torch.linalg.vector_norm
    width = ffn_out.in_features  # a gated FFN has two input rows for each neuron
    input_F = norm(ffn_in.weight.detach().reshape(-1, width, ffn_in.in_features), dim=(0, 2))
    magnitude_F: Tensor = input_F * norm(ffn_out.weight.detach(), dim=0)
    return magnitude_F


def _measure_hidden_magnitude(model: PreTrainedModel) -> Tensor:
    layout = find_layout(model)
    squares_D = torch.zeros(model.config.hidden_size, device=model.device)
    for name, tensor in model.named_parameters():
        axes = layout.locate(name)[1]
        if "D" in axes:
            others = [dimension for dimension in range(tensor.dim()) if dimension != axes.index("D")]
            square = tensor.detach().float() ** 2
            squares_D += square.sum(others) if others else square
    return squares_D.sqrt()


def _measure_taylor(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    modules: Sequence[nn.Module],
    *,
    criterion: Criterion,
    inputs: bool = True,
    groups: int | None = None,
) -> list[Tensor]:
    """Return the summed gates of the modules' inputs, or outputs; dimensions of one group are one gate."""
    importance: list[Tensor] = []
    with _record_activations(model, modules, inputs=inputs) as activations:
        for batch in _add_labels(model, batches, criterion):
            activations.clear()
            with torch.enable_grad():
                loss = model(**batch).loss
            gradients = torch.autograd.grad(loss, activations)
            gates = [_gate(*pair, groups) for pair in zip(activations, gradients, strict=True)]
            if importance:
                gates = [total + gate for total, gate in zip(importance, gates, strict=True)]
            importance = gates
    return importance


def _measure_taylor_fused(
    model: PreTrainedModel, batches: Iterable[Batch], criterion: Criterion
) -> list[Tensor]:
    """Return the same for every FFN, added up by the op while it propagates the loss to the embeddings."""
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    importance = [
        torch.zeros(ffn_in.out_features, dtype=dtype, device=model.device) for ffn_in, _ in _ffn_maps(model)
    ]
    embeddings = [model.get_input_embeddings()]
    with (
        _record_activations(model, embeddings, inputs=False) as embedded,
        _fused_ffn(model, importance),
    ):
        for batch in _add_labels(model, batches, criterion):
            embedded.clear()
            with torch.enable_grad():
                loss = model(**batch).loss
            torch.autograd.grad(loss, embedded)
    return importance


@contextmanager
def _fused_ffn(model: PreTrainedModel, importance: Sequence[Tensor]) -> Iterator[None]:
    """Run every FFN as one op: its first half passes its input on, its second half computes both."""
    layout = find_layout(model)
    first_half = layout.ffn_in.rpartition(".")[0]
    replaced: list[nn.Module] = []
    for number, (ffn_in, ffn_out) in enumerate(_ffn_maps(model)):
        first = model.get_submodule(f"{layout.layers}.{number}.{first_half}")
        vars(first)["forward"] = _pass_on
        vars(ffn_out)["forward"] = partial(_run_ffn, ffn_in, ffn_out, importance[number])
        replaced += [first, ffn_out]
    try:
        yield
    finally:
        for module in replaced:
            del vars(module)["forward"]


def _pass_on(x_BLD: Tensor) -> Tensor:
    return x_BLD


def _run_ffn(ffn_in: nn.Linear, ffn_out: nn.Linear, importance_F: Tensor, x_BLD: Tensor) -> Tensor:
    return linear_gelu_linear(
        x_BLD, ffn_in.weight, ffn_in.bias, ffn_out.weight, ffn_out.bias, importance=importance_F
    )


def _add_labels(
    model: PreTrainedModel, batches: Iterable[Batch], criterion: Criterion
) -> Iterator[dict[str, Tensor]]:
    """Yield the batches with the labels of the criterion.

    Raises:
        HarnessError: there is no batch, or a batch lacks the labels that the criterion needs.
    """
    is_empty = True
    for batch in batches:
        yield {**batch, "labels": _make_labels(model, batch, criterion)}
        is_empty = False
    if is_empty:
        raise HarnessError("importance: expected batches of corpus text; got none; prepare the corpus first")


def _make_labels(model: PreTrainedModel, batch: Batch, criterion: Criterion) -> Tensor:
    """Return the batch's labels, or the model's own best predictions in their place."""
    if criterion == "taylor_logits":
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            predictions_BL: Tensor = model(**inputs).logits.argmax(-1)
        labels_BL = batch.get("labels")
        chosen_BL = batch["attention_mask"].bool() if labels_BL is None else labels_BL != -100
        return predictions_BL.masked_fill(~chosen_BL, -100)
    if "labels" not in batch:
        raise HarnessError("importance: expected batches with labels; got none; mask them first")
    return batch["labels"]


def _gate(activation_BLF: Tensor, gradient_BLF: Tensor, groups: int | None) -> Tensor:
    product_F = (activation_BLF.detach() * gradient_BLF).sum((0, 1))
    return (product_F if groups is None else product_F.view(groups, -1).sum(1)).abs()


@contextmanager
def _record_activations(
    model: PreTrainedModel, modules: Sequence[nn.Module], *, inputs: bool
) -> Iterator[list[Tensor]]:
    """Record the inputs, or the outputs, of the modules in each pass, with the weights held constant."""
    activations: list[Tensor] = []
    training, trainable = model.training, [parameter.requires_grad for parameter in model.parameters()]

    def record_input(_: nn.Module, module_inputs: tuple[Any, ...]) -> None:
        activations.append(module_inputs[0])

    def record_output(_: nn.Module, __: Any, output_BLD: Tensor) -> None:
        activations.append(output_BLD)

    def require_gradient(_: nn.Module, __: Any, output_BLD: Tensor) -> Tensor:
        return output_BLD.requires_grad_()

    hooks = [model.get_input_embeddings().register_forward_hook(require_gradient)]
    for module in modules:
        if inputs:
            hooks.append(module.register_forward_pre_hook(record_input))
        else:
            hooks.append(module.register_forward_hook(record_output))
    model.eval().requires_grad_(False)
    try:
        yield activations
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
        for parameter, flag in zip(model.parameters(), trainable, strict=True):
            parameter.requires_grad_(flag)
