"""Change a model's shape: fewer layers, a thinner FFN, fewer heads, a narrower hidden size. Nothing trains.

Every change is a choice of indices along an axis of the table `families.table.LAYOUTS`, applied to every
tensor that has the axis. The given model is left as it was and shares no memory with the result.

Axes: **D** hidden, **A** heads × head size, **F** FFN, **V** vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import LongTensor, Tensor
from transformers import PreTrainedModel

from harness.errors import HarnessError, unknown
from harness.families import FAMILIES
from harness.models.families.layout import FamilyLayout
from harness.models.families.table import find_layout, read_size, write_size
from harness.models.loading.checkpoint import assemble_model
from harness.models.narrowing.heads import narrow_heads

#: Indices kept along each axis: the same in every layer, or one tensor for each layer.
Kept = Mapping[str, Tensor | Sequence[Tensor]]


def shorten(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Return the model with these layers only, in this order.

    Invariants: the n-th layer of the result computes what layer ``layers[n]`` of the model computes.

    Raises:
        HarnessError: no layer, a layer given twice, or a layer that the model does not have.
    """
    count = model.config.num_hidden_layers
    if not layers or len(set(layers)) != len(layers) or not set(layers) <= set(range(count)):
        raise HarnessError(
            f"shorten: expected one or more different layers of 0 to {count - 1}; got {list(layers)}; "
            "choose others"
        )
    layout = find_layout(model)
    if FAMILIES[layout.model_type].first_layer_stays and layers[0] != 0:
        raise HarnessError(
            f"shorten: expected layer 0 kept as the first, as it alone has no norm in {layout.model_type}; "
            f"got {list(layers)}; begin with 0"
        )
    places = {old: new for new, old in enumerate(layers)}
    tensors = {}
    for name, tensor in model.named_parameters():
        layer = layout.locate(name)[2]
        if layer is None:
            tensors[name] = tensor.detach().clone()
        elif layer in places:
            old, new = f"{layout.layers}.{layer}.", f"{layout.layers}.{places[layer]}."
            tensors[name.replace(old, new, 1)] = tensor.detach().clone()
    types = getattr(model.config, "layer_types", None)
    more = {"layer_types": [types[layer] for layer in layers]} if types else {}
    return rebuild_model(model, tensors, num_hidden_layers=len(layers), **more)


def prune_ffn(model: PreTrainedModel, keep: Sequence[LongTensor]) -> PreTrainedModel:
    """Return the model with only the kept FFN neurons of each layer.

    Invariants: the result computes what the model computes with the other neurons' activations set to zero.

    Args:
        model: the model to prune.
        keep: for each layer the neurons to keep, as many in every layer.

    Raises:
        HarnessError: a layer without a list, lists of different lengths, or neurons that do not exist.
    """
    layers, width = model.config.num_hidden_layers, read_size(model, "intermediate_size")
    if len(keep) != layers:
        raise HarnessError(
            f"prune: expected a list of neurons for each of {layers} layers; got {len(keep)} lists"
        )
    sizes = sorted({len(kept) for kept in keep})
    if len(sizes) != 1:
        raise HarnessError(
            "prune: expected equally many neurons in every layer, as config.json holds one number; "
            f"got {sizes}; keep the same number everywhere"
        )
    for number, kept in enumerate(keep):
        _check_indices(f"prune: layer {number}", "neurons", kept, width)
    return rebuild_model(model, select_indices(model, {"F": keep}), intermediate_size=sizes[0])


def prune_heads(model: PreTrainedModel, keep: Sequence[LongTensor]) -> PreTrainedModel:
    """Return the model in which only the kept heads of each layer have an output.

    The stock classes take a head's size to be hidden size / heads, so that no checkpoint they load can have
    fewer heads of the same size: the output columns of the other heads become zeros, and the shape stays. To
    remove whole heads and their width, narrow with ``heads: dropped``.

    Invariants: the result computes what the model computes with the other heads' outputs set to zero; layers
    may keep different numbers.

    Args:
        model: the model to prune.
        keep: for each layer the heads to keep, one or more.

    Raises:
        HarnessError: a layer without a list, or heads that do not exist.
    """
    layout, heads = find_layout(model), model.config.num_attention_heads
    if len(keep) != model.config.num_hidden_layers:
        raise HarnessError(
            f"prune: expected a list of heads for each of {model.config.num_hidden_layers} layers; "
            f"got {len(keep)} lists"
        )
    tensors = select_indices(model, {})
    for number, kept in enumerate(keep):
        _check_indices(f"prune: layer {number}", "heads", kept, heads)
        dropped = torch.ones(heads, dtype=torch.bool).index_fill(0, kept, value=False)
        weight_DA = tensors[f"{layout.layers}.{number}.{layout.attention_out}.weight"]
        weight_DA.view(len(weight_DA), heads, -1)[:, dropped] = 0
    return rebuild_model(model, tensors)


def narrow(
    model: PreTrainedModel,
    hidden: int,
    heads: int,
    basis: Literal["first"] | Tensor = "first",
    *,
    heads_mode: Literal["narrowed", "dropped"] | None = None,
    within: Literal["first", "svd"] = "first",
) -> PreTrainedModel:
    """Return the model with a narrower residual stream; heads are never mixed.

    The published code keeps the first rows of every tensor, which loses the last heads and cuts one in two.
    Here each of the first ``heads`` heads keeps its first ``hidden / heads`` dimensions. A narrower head
    divides its scores by a smaller root, so queries are scaled by the root of new / old head size: the
    scores of the kept dimensions stay what they were. The norms keep the gains and biases of the kept
    dimensions; their mean and variance are over fewer, an approximation that training has to repair.

    Invariants: keeping everything loses nothing; the FFN width stays.

    Args:
        model: the model to narrow.
        hidden: the new width of the residual stream.
        heads: the new number of heads.
        basis: ``first`` keeps the first dimensions; or the ``hidden`` dimensions to keep.
        within: how a narrower head is made: ``first`` keeps its first dimensions, ``svd`` the best low-rank
            form of its scores and of its outputs (`harness.models.narrowing.heads`).
        heads_mode: ``narrowed`` requires that all heads stay, ``dropped`` that their size does.

    Raises:
        HarnessError: a width that no head fits, or dimensions that do not exist.
    """
    config = model.config
    check_heads(config, hidden, heads, heads_mode)
    check_rotary(model, hidden // heads)
    dimensions = _list_dimensions(basis, hidden, config.hidden_size)
    tensors = _narrow_heads(model, select_indices(model, {"D": dimensions}), heads, hidden // heads, within)
    return rebuild_model(model, tensors, hidden_size=hidden, num_attention_heads=heads)


def select_indices(model: PreTrainedModel, kept: Kept) -> dict[str, Tensor]:
    """Return a copy of every parameter, tied ones once, with only the kept indices along each axis."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    tensors = _keep(find_layout(model), parameters, kept)
    return {
        name: tensor.clone() if tensor.data_ptr() == parameters[name].data_ptr() else tensor
        for name, tensor in tensors.items()
    }


def _keep(layout: FamilyLayout, tensors: Mapping[str, Tensor], kept: Kept) -> dict[str, Tensor]:
    """Return the tensors with only the kept indices; a tensor that loses none is passed on as it is."""
    result = dict(tensors)
    for name, tensor in tensors.items():
        _, axes, layer = layout.locate(name)
        for dimension, label in enumerate(axes):
            blocks, axis = int(label[:-1] or 1), label[-1]
            if axis in kept:
                indices = _indices(kept[axis], layer).to(tensor.device)
                size = tensor.shape[dimension] // blocks
                rows = (torch.arange(blocks, device=indices.device)[:, None] * size + indices).flatten()
                result[name] = result[name].index_select(dimension, rows)
    return result


def _indices(kept: Tensor | Sequence[Tensor], layer: int | None) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    assert layer is not None, "an axis of the whole model has one tensor of indices"
    return kept[layer]


def fold_basis(
    model: PreTrainedModel, basis_DS: Tensor, heads: int, *, within: Literal["first", "svd"] = "first"
) -> PreTrainedModel:
    """Return the narrower model whose every weight has a basis of the residual stream folded in.

    Maps that read the stream are multiplied by the basis, maps that write it by its transpose. A norm's gain
    does not commute with a rotation: each new dimension gets the mean of the gains, weighted by its squared
    share.

    Args:
        model: the model to narrow.
        basis_DS: orthonormal columns.
        heads: the new number of heads.
        within: as in `narrow`.
    """
    layout, width = find_layout(model), basis_DS.shape[1]
    check_heads(model.config, width, heads, None)
    tensors = {}
    for name, parameter in model.named_parameters():
        axes, tensor = layout.locate(name)[1], parameter.detach()
        is_gain = axes == ("D",) and name.endswith(".weight")
        fold_DS = basis_DS.square() if is_gain else basis_DS
        for dimension, axis in enumerate(axes):
            if axis == "D":
                tensor = (tensor.movedim(dimension, -1) @ fold_DS).movedim(-1, dimension)
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    narrowed = _narrow_heads(model, tensors, heads, width // heads, within)
    return rebuild_model(model, narrowed, hidden_size=width, num_attention_heads=heads)


def rebuild_model(model: PreTrainedModel, tensors: Mapping[str, Tensor], **changes: Any) -> PreTrainedModel:
    """Return the stock model of these tensors, with the model's configuration except for the changes."""
    layout, config = find_layout(model), copy.deepcopy(model.config)
    for key, value in changes.items():
        write_size(layout, config, key, value)
    return assemble_model(layout, config, tensors)


def _narrow_heads(
    model: PreTrainedModel, tensors: dict[str, Tensor], heads: int, new: int, within: str
) -> dict[str, Tensor]:
    """Return the tensors with the first heads only, each narrowed to a new size."""
    config, layout = model.config, find_layout(model)
    old = config.hidden_size // config.num_attention_heads
    if within not in ("first", "svd"):
        raise unknown("way to narrow a head", within, ("first", "svd"))
    if within == "svd" and new < old:
        tensors = _keep(layout, tensors, {"A": torch.arange(heads * old)})
        return narrow_heads(layout, tensors, config.num_hidden_layers, heads, new)
    rows_A = (torch.arange(heads)[:, None] * old + torch.arange(new)).flatten()
    tensors = _keep(layout, tensors, {"A": rows_A})
    _scale_queries(layout, tensors, (new / old) ** 0.5)
    return tensors


def _scale_queries(layout: FamilyLayout, tensors: Mapping[str, Tensor], factor: float) -> None:
    for name in tensors:
        if factor != 1 and name.startswith(layout.layers) and f".{layout.query}." in name:
            tensors[name].mul_(factor)


def _check_indices(where: str, noun: str, kept: Tensor, limit: int) -> None:
    valid = kept.dim() == 1 and kept.dtype == torch.int64 and 0 < len(kept) == len(set(kept.tolist()))
    if not valid or int(kept.min()) < 0 or int(kept.max()) >= limit:
        raise HarnessError(
            f"{where}: expected one or more different {noun} of 0 to {limit - 1}; got {kept.tolist()[:8]}; "
            "choose others"
        )


def check_rotary(model: PreTrainedModel, size: int) -> None:
    """Refuse a new head size of a model whose positions rotate the dimensions of a head.

    Raises:
        HarnessError: one line that says which size must stay.
    """
    old = model.config.hidden_size // model.config.num_attention_heads
    if FAMILIES[model.config.model_type].whole_heads and size != old:
        raise HarnessError(
            f"narrow: expected whole heads of {old}, as positions rotate their dimensions in pairs; got "
            f"{size}; use heads: dropped"
        )


def check_heads(config: Any, hidden: int, heads: int, mode: str | None) -> None:
    """Refuse a width or a number of heads that the model cannot be narrowed to.

    Raises:
        HarnessError: one line that says why they do not fit.
    """
    size = config.hidden_size // config.num_attention_heads
    embedding = getattr(config, "embedding_size", config.hidden_size)
    if hidden == embedding != config.hidden_size:
        raise HarnessError(
            "narrow: expected another width than that of the embeddings, which have a map to the hidden "
            f"states; got {hidden}; choose another"
        )
    if mode not in ("narrowed", "dropped", None):
        raise unknown("way to narrow heads", str(mode), ("narrowed", "dropped"))
    if not 0 < heads <= config.num_attention_heads or not 0 < hidden <= config.hidden_size or hidden % heads:
        raise HarnessError(
            f"narrow: expected at most {config.num_attention_heads} heads that divide a hidden size of at "
            f"most {config.hidden_size}; got {heads} heads in {hidden}; choose a multiple of the heads"
        )
    if hidden // heads > size:
        raise HarnessError(
            f"narrow: expected heads no wider than the model's {size}; got {hidden // heads}; "
            "keep more heads or a smaller hidden size"
        )
    if mode == "narrowed" and heads != config.num_attention_heads:
        raise HarnessError(
            f"narrow: expected all {config.num_attention_heads} heads kept (heads: narrowed); got {heads}; "
            "keep them all, or use heads: dropped"
        )
    if mode == "dropped" and hidden != heads * size:
        raise HarnessError(
            f"narrow: expected whole heads of {size} (heads: dropped); got {hidden} for {heads} heads; "
            f"ask for {heads * size}, or use heads: narrowed"
        )


def _list_dimensions(basis: str | Tensor, hidden: int, limit: int) -> Tensor:
    if isinstance(basis, str):
        if basis != "first":
            raise unknown("basis", basis, ("first",))
        return torch.arange(hidden)
    _check_indices("narrow", "dimensions", basis, limit)
    if len(basis) != hidden:
        raise HarnessError(
            f"narrow: expected {hidden} dimensions; got {len(basis)}; give as many as the width"
        )
    return basis
