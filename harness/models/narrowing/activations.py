"""A sample of text run through a post-norm encoder, sublayer by sublayer.

The states of a place are a list with a tensor for each batch; its rows are the attended tokens, no padding.

Shapes: **B** batch, **L** length, **N** attended tokens of a batch, **D** hidden, **A** heads × head size,
**H** heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from harness.errors import HarnessError
from harness.models.families.table import find_layout
from harness.models.surgery.importance import Batch

States = list[Tensor]


class TextSample:
    """Batches of token ids, and their attended places.

    Attributes:
        batches: ``input_ids`` and ``attention_mask``, and perhaps ``labels``.
        attended: for each batch a boolean B × L.

    Raises:
        HarnessError: no batch.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = list(batches)
        if not self.batches:
            raise HarnessError("narrow: expected batches of corpus text; got none; prepare the corpus first")
        self.attended = [batch["attention_mask"].bool() for batch in self.batches]

    def loss_rows(self) -> States:
        """Return for each batch a boolean N: the rows of the MLM loss; all rows where there are no labels."""
        rows = []
        for batch, attended_BL in zip(self.batches, self.attended, strict=True):
            labels_BL = batch.get("labels")
            chosen_BL = attended_BL if labels_BL is None else labels_BL != -100
            rows.append(chosen_BL[attended_BL])
        return rows


class LayerActivations(NamedTuple):
    """The activations of one layer on a batch.

    Attributes:
        weights_BHLL: the attention weights.
        mixed_NA: the attended values of all heads.
        attention_ND: what attention adds to the stream.
        middle_ND: the stream after the first norm.
        ffn_ND: what the FFN adds.
        after_ND: the stream after the second norm.
    """

    weights_BHLL: Tensor
    mixed_NA: Tensor
    attention_ND: Tensor
    middle_ND: Tensor
    ffn_ND: Tensor
    after_ND: Tensor


def run_embeddings(model: PreTrainedModel, sample: TextSample) -> tuple[States, States]:
    """Return the sums of the embeddings before their norm, and the stream after it."""
    embeddings: Any = model.base_model.get_submodule("embeddings")
    norm = model.get_submodule(find_layout(model).residual[0])
    summed: States = []
    hook = norm.register_forward_pre_hook(lambda _, inputs: summed.append(inputs[0]))
    try:
        normed = [embeddings(input_ids=batch["input_ids"]) for batch in sample.batches]
    finally:
        hook.remove()
    before, after = (
        [rows_BLD[attended_BL] for rows_BLD, attended_BL in zip(states, sample.attended, strict=True)]
        for states in (summed, normed)
    )
    return before, after


def run_embedding_map(model: PreTrainedModel, sample: TextSample) -> States:
    """Return the stream of a model whose embeddings have a map to the stream."""
    embeddings: Any = model.base_model.get_submodule("embeddings")
    across = model.get_submodule(find_layout(model).embedding_map)
    return [
        across(embeddings(input_ids=batch["input_ids"])[attended_BL])
        for batch, attended_BL in zip(sample.batches, sample.attended, strict=True)
    ]


def run_layer(model: PreTrainedModel, number: int, rows_ND: Tensor, attended_BL: Tensor) -> LayerActivations:
    """Return a layer's activations on rows; the last are equal to the layer's own forward pass."""
    part = layer_modules(model, number)
    query_NA, key_NA, value_NA = (part[name](rows_ND) for name in ("query", "key", "value"))
    weights_BHLL = attention_weights(query_NA, key_NA, attended_BL, model.config.num_attention_heads)
    mixed_NA = mix_values(weights_BHLL, value_NA, attended_BL)
    attention_ND = part["attention_out"](mixed_NA)
    middle_ND = part["attention_norm"](rows_ND + attention_ND)
    ffn_ND = part["ffn_out"](ffn_activation(model)(part["ffn_in"](middle_ND)))
    after_ND = part["ffn_norm"](middle_ND + ffn_ND)
    return LayerActivations(weights_BHLL, mixed_NA, attention_ND, middle_ND, ffn_ND, after_ND)


def layer_modules(model: PreTrainedModel, number: int) -> dict[str, Any]:
    """Return the modules of a layer by their role."""
    return {role: model.get_submodule(path) for role, path in layer_paths(model, number).items()}


def layer_paths(model: PreTrainedModel, number: int) -> dict[str, str]:
    """Return the paths of the modules of a layer by their role."""
    layout = find_layout(model)
    _, attention_norm, ffn_norm = layout.residual
    paths = {
        "query": layout.query,
        "key": layout.key,
        "value": layout.value,
        "attention_out": layout.attention_out,
        "attention_norm": attention_norm,
        "ffn_in": layout.ffn_in,
        "ffn_out": layout.ffn_out,
        "ffn_norm": ffn_norm,
    }
    return {role: f"{layout.layers}.{number}.{path}" for role, path in paths.items()}


def ffn_activation(model: PreTrainedModel) -> nn.Module:
    """Return the activation function between the FFN's two maps."""
    function: nn.Module = ACT2FN[getattr(model.config, find_layout(model).activation)]
    return function


def norm_eps(model: PreTrainedModel) -> float:
    """Return what the model's norms add to a variance."""
    norm: Any = model.get_submodule(find_layout(model).head_norm)
    return float(norm.eps)


def attention_weights(query_NA: Tensor, key_NA: Tensor, attended_BL: Tensor, heads: int) -> Tensor:
    """Return the attention weights B × H × L × L of rows; padding has none."""
    query_BHLK, key_BHLK = (_scatter_rows(rows_NA, attended_BL, heads) for rows_NA in (query_NA, key_NA))
    score_BHLL = query_BHLK @ key_BHLK.mT * query_BHLK.shape[-1] ** -0.5
    least = torch.finfo(score_BHLL.dtype).min
    weights_BHLL: Tensor = score_BHLL.masked_fill(~attended_BL[:, None, None], least).softmax(-1)
    return weights_BHLL


def mix_values(weights_BHLL: Tensor, value_NA: Tensor, attended_BL: Tensor) -> Tensor:
    """Return the attended values N × A: those of each head by its own weights."""
    mixed_BHLK = weights_BHLL @ _scatter_rows(value_NA, attended_BL, weights_BHLL.shape[1])
    return mixed_BHLK.transpose(1, 2).flatten(2)[attended_BL]


def mix_rows(weights_BHLL: Tensor, rows_ND: Tensor, attended_BL: Tensor) -> Tensor:
    """Return whole rows mixed by the weights of each head, N × H × D."""
    mixed_BHLD = weights_BHLL @ _scatter_rows(rows_ND, attended_BL, 1)
    return mixed_BHLD.transpose(1, 2)[attended_BL]


def _scatter_rows(rows_NA: Tensor, attended_BL: Tensor, heads: int) -> Tensor:
    """Return the rows at their places, B × H × L × K, with zeros at padding."""
    scattered_BLA = rows_NA.new_zeros(*attended_BL.shape, rows_NA.shape[-1])
    scattered_BLA[attended_BL] = rows_NA
    return scattered_BLA.view(*attended_BL.shape, heads, -1).transpose(1, 2)
