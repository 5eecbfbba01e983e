"""A sample of text as it passes through a post-norm encoder, sublayer by sublayer.

The states of one place are a list with a tensor for each batch, its attended tokens as rows; padding is never
among them.

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
    """Batches of token ids, and which of their places are attended, and asked for.

    Attributes:
        batches: ``input_ids`` and ``attention_mask``, and perhaps ``labels``.
        attended: for each batch a boolean B × L.

    Raises:
        HarnessError: no batch.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = list(batches)
        if not self.batches:
            raise HarnessError("narrow: wanted batches of corpus text; got none; prepare the corpus first")
        self.attended = [batch["attention_mask"].bool() for batch in self.batches]

    def asked(self) -> States:
        """Gives for each batch a boolean N: rows the MLM loss asks for; all of them where none has labels."""
        rows = []
        for batch, attended_BL in zip(self.batches, self.attended, strict=True):
            labels_BL = batch.get("labels")
            asked_BL = attended_BL if labels_BL is None else labels_BL != -100
            rows.append(asked_BL[attended_BL])
        return rows


class LayerActivations(NamedTuple):
    """What one layer makes of its rows, by place.

    Attributes:
        weights_BHLL: how much each token attends to each.
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
    """Gives the embeddings' sums before their norm, and the stream after it."""
    embeddings: Any = model.base_model.get_submodule("embeddings")
    norm = model.get_submodule(find_layout(model).residual[0])
    summed: States = []
    hook = norm.register_forward_pre_hook(lambda _, inputs: summed.append(inputs[0]))
    try:
        states = [embeddings(input_ids=batch["input_ids"]) for batch in sample.batches]
    finally:
        hook.remove()
    pairs = [list(zip(one, sample.attended, strict=True)) for one in (summed, states)]
    before, after = ([rows_BLD[kept_BL] for rows_BLD, kept_BL in pair] for pair in pairs)
    return before, after


def run_layer(model: PreTrainedModel, number: int, rows_ND: Tensor, attended_BL: Tensor) -> LayerActivations:
    """Gives what a layer of the model makes of rows, equal to the layer's own forward pass."""
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
    """Gives the modules of a layer by what they do."""
    return {name: model.get_submodule(path) for name, path in layer_paths(model, number).items()}


def layer_paths(model: PreTrainedModel, number: int) -> dict[str, str]:
    """Gives the paths of the modules of a layer by what they do."""
    family = find_layout(model)
    _, attention_norm, ffn_norm = family.residual
    paths = {
        "query": family.query,
        "key": family.key,
        "value": family.value,
        "attention_out": family.attention_out,
        "attention_norm": attention_norm,
        "ffn_in": family.ffn_in,
        "ffn_out": family.ffn_out,
        "ffn_norm": ffn_norm,
    }
    return {name: f"{family.layers}.{number}.{path}" for name, path in paths.items()}


def ffn_activation(model: PreTrainedModel) -> nn.Module:
    """Gives the function between the FFN's two maps."""
    function: nn.Module = ACT2FN[getattr(model.config, find_layout(model).activation)]
    return function


def norm_eps(model: PreTrainedModel) -> float:
    """Gives what the model's norms add to a variance."""
    norm: Any = model.get_submodule(find_layout(model).head_norm)
    return float(norm.eps)


def attention_weights(query_NA: Tensor, key_NA: Tensor, attended_BL: Tensor, heads: int) -> Tensor:
    """Gives the attention weights B × H × L × L of rows; none goes to padding."""
    query_BHLK, key_BHLK = (_spread(one, attended_BL, heads) for one in (query_NA, key_NA))
    score_BHLL = query_BHLK @ key_BHLK.mT * query_BHLK.shape[-1] ** -0.5
    least = torch.finfo(score_BHLL.dtype).min
    weights_BHLL: Tensor = score_BHLL.masked_fill(~attended_BL[:, None, None], least).softmax(-1)
    return weights_BHLL


def mix_values(weights_BHLL: Tensor, value_NA: Tensor, attended_BL: Tensor) -> Tensor:
    """Gives the rows N × A that attention makes of values, each head of its own."""
    mixed_BHLK = weights_BHLL @ _spread(value_NA, attended_BL, weights_BHLL.shape[1])
    return mixed_BHLK.transpose(1, 2).flatten(2)[attended_BL]


def mix_rows(weights_BHLL: Tensor, rows_ND: Tensor, attended_BL: Tensor) -> Tensor:
    """Gives the rows N × H × D that each head would see if it looked at whole rows."""
    mixed_BHLD = weights_BHLL @ _spread(rows_ND, attended_BL, 1)
    return mixed_BHLD.transpose(1, 2)[attended_BL]


def _spread(rows_NA: Tensor, attended_BL: Tensor, heads: int) -> Tensor:
    """Gives rows their places back, B × H × L × K, zeros where nothing is attended."""
    spread_BLA = rows_NA.new_zeros(*attended_BL.shape, rows_NA.shape[-1])
    spread_BLA[attended_BL] = rows_NA
    return spread_BLA.view(*attended_BL.shape, heads, -1).transpose(1, 2)
