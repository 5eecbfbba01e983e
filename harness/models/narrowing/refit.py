"""Fit every map of a narrower model to the wide model's states on text, layer by layer.

The residual stream of the narrow model (the student) is to hold that of the wide model (the teacher) in
another basis: ``student ≈ teacher @ basis``. Folding the basis into each weight alone
(`surgery.axes.fold_basis`) makes errors that add up, and the norms are off: a post-norm encoder scales each
dimension after each sublayer, so that no rotation passes through, and norms of fewer dimensions have other
means and deviations. So the layers are fitted here from the bottom to the top, while the student runs on the
same text:

- A map that reads the stream is composed with the linear map from the student's stream that comes nearest to
  the teacher's stream.
- A map that writes the stream is the least-squares answer to "what must be added so that the norm's output is
  the teacher's stream", on the student's own activations: each sublayer corrects what those below it lost.
- Gains and biases of each norm are the least-squares ones.

Approximate: the norm's scale in that question is the one it would have with the basis folded in. What lies
outside the basis is lost. Rotation and gain are reconciled on average over text, not by token.

Memory: a few states of each token of the sample, and its attention weights; the sums of the fits are float64
and do not grow with the text.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **A** heads × head size, **F** FFN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.models.families.layout import FamilyLayout
from harness.models.families.table import find_layout
from harness.models.narrowing import activations
from harness.models.narrowing.activations import States, TextSample, norm_eps
from harness.models.narrowing.fitted_heads import HeadInputs, fit_heads
from harness.models.narrowing.least_squares import Linear, compose
from harness.models.narrowing.mlm_head import fit_head
from harness.models.narrowing.sublayers import Sublayer, estimate_teacher, fit_norm, fit_sublayer
from harness.models.surgery.importance import Batch


@dataclass(frozen=True)
class _Task:
    """What is to be fitted: the wide model, the basis that stays, and the text.

    Attributes:
        model: the wide model.
        basis_DS: the directions of the residual stream that stay.
        heads: how many heads stay.
        sample: the text.
        within: how a narrower head is made.
    """

    model: PreTrainedModel
    basis_DS: Tensor
    heads: int
    sample: TextSample
    within: str

    @property
    def layout(self) -> FamilyLayout:
        return find_layout(self.model)

    @property
    def eps(self) -> float:
        return norm_eps(self.model)


class _Streams(NamedTuple):
    """The residual streams of both models at one place, as far up as the student is fitted."""

    teacher: States
    student: States


@torch.no_grad()
def refit(
    model: PreTrainedModel, basis_DS: Tensor, heads: int, batches: Iterable[Batch], *, within: str = "svd"
) -> dict[str, Tensor]:
    """Return every parameter of the narrower model, by name; tied parameters once.

    Invariants: with every dimension kept as it is, and all heads, the encoder computes what it computed, up
    to rounding. The head is fitted all the same, and its dense layer is fitted as a linear map.

    Args:
        model: the model to narrow, of a post-norm family.
        basis_DS: the directions of the stream that stay.
        heads: how many heads stay: those whose output varies most, where not all do.
        batches: corpus text, ``input_ids``, ``attention_mask`` and ``labels`` where masked.
        within: ``svd`` (weighted by the text), or ``first`` dimensions of each head.
    """
    task = _Task(model, basis_DS, heads, TextSample(batches), within)
    tensors, streams = _fit_embeddings(task)
    for number in range(model.config.num_hidden_layers):
        layer_tensors, streams = _fit_layer(task, number, streams)
        tensors |= layer_tensors
    if task.layout.embedding_map:
        return tensors | _keep_head(task, streams)
    word_VS = tensors[f"{task.layout.word}.weight"]
    return tensors | fit_head(model, word_VS, *streams, task.sample.loss_rows())


def _fold_embedding_map(task: _Task) -> tuple[dict[str, Tensor], _Streams]:
    """Keep the embeddings and their width, and fold the basis into their map to the stream: an exact fit."""
    layout, basis_DS = task.layout, task.basis_DS
    tensors = {
        name: tensor.detach().clone()
        for name, tensor in task.model.named_parameters()
        if layout.locate(name)[0] == "embeddings"
    }
    across = _fold_output(task.model.get_submodule(layout.embedding_map), basis_DS)
    teacher = activations.run_embedding_map(task.model, task.sample)
    student = [rows_ND @ basis_DS for rows_ND in teacher]
    return tensors | _name_tensors({layout.embedding_map: across}), _Streams(teacher, student)


def _keep_head(task: _Task, streams: _Streams) -> dict[str, Tensor]:
    """Return the head with its own width, its dense layer composed with the map back to the wide stream."""
    layout = task.layout
    tensors = {
        name: tensor.detach().clone()
        for name, tensor in task.model.named_parameters()
        if layout.locate(name)[0] == "mlm_head"
    }
    dense = compose(task.model.get_submodule(layout.head_dense), estimate_teacher(*streams))
    return tensors | _name_tensors({layout.head_dense: dense})


def _fit_embeddings(task: _Task) -> tuple[dict[str, Tensor], _Streams]:
    """Fold the norm's gain into the tables, but for its mean; then fit the norm's gains and biases."""
    layout, basis_DS = task.layout, task.basis_DS
    if layout.embedding_map:
        return _fold_embedding_map(task)
    summed, teacher = activations.run_embeddings(task.model, task.sample)
    norm: Any = task.model.get_submodule(layout.residual[0])
    mean_S = (norm.weight.square() @ basis_DS.square()).sqrt().clamp_min(1e-6)
    fold_DS = norm.weight[:, None] * basis_DS / mean_S
    fold_DS = fold_DS - fold_DS.mean(0)
    tensors = {
        name: table @ fold_DS
        for name, table in task.model.named_parameters(remove_duplicate=False)
        if _is_embedding_table(layout, name)
    }
    target = [rows_ND @ basis_DS for rows_ND in teacher]
    fitted, student = fit_norm([rows_ND @ fold_DS for rows_ND in summed], target, task.eps)
    return tensors | _name_tensors({layout.residual[0]: fitted}), _Streams(teacher, student)


def _fit_layer(task: _Task, number: int, streams: _Streams) -> tuple[dict[str, Tensor], _Streams]:
    """Fit one layer and run both models through it."""
    model, basis_DS = task.model, task.basis_DS
    paths, modules = activations.layer_paths(model, number), activations.layer_modules(model, number)
    passes = [
        activations.run_layer(model, number, rows_ND, attended_BL)
        for rows_ND, attended_BL in zip(streams.teacher, task.sample.attended, strict=True)
    ]
    heads = fit_heads(
        HeadInputs(modules, passes, streams.student, task.sample.attended),
        estimate_teacher(*streams),
        basis_DS,
        task.heads,
        within=task.within,
    )
    middle = [layer.middle_ND for layer in passes]
    mixed = _run_attention(task, heads.query, heads.key, heads.value, streams.student)
    attention = fit_sublayer(
        Sublayer(mixed.__getitem__, [layer.attention_ND for layer in passes], middle, heads.out),
        streams.student,
        basis_DS,
        task.eps,
    )
    after = [layer.after_ND for layer in passes]
    ffn_in = compose(modules["ffn_in"], estimate_teacher(middle, attention.student))
    ffn = fit_sublayer(
        Sublayer(
            _ffn_activations(task, ffn_in, attention.student),
            [layer.ffn_ND for layer in passes],
            after,
            _fold_output(modules["ffn_out"], basis_DS),
        ),
        attention.student,
        basis_DS,
        task.eps,
    )
    fitted = {"query": heads.query, "key": heads.key, "value": heads.value}
    fitted |= {"attention_out": attention.out, "attention_norm": attention.norm}
    fitted |= {"ffn_in": ffn_in, "ffn_out": ffn.out, "ffn_norm": ffn.norm}
    named = _name_tensors({paths[role]: linear for role, linear in fitted.items()})
    return named, _Streams(after, ffn.student)


def _run_attention(task: _Task, query: Linear, key: Linear, value: Linear, student: States) -> States:
    """Return the student's attended values, for each batch of the sample."""
    mixed = []
    for rows_NS, attended_BL in zip(student, task.sample.attended, strict=True):
        weights_BHLL = activations.attention_weights(query(rows_NS), key(rows_NS), attended_BL, task.heads)
        mixed.append(activations.mix_values(weights_BHLL, value(rows_NS), attended_BL))
    return mixed


def _ffn_activations(task: _Task, ffn_in: Linear, student: States) -> Callable[[int], Tensor]:
    """Return a function that computes the student's FFN activations of a batch; all are too many to keep."""
    function = activations.ffn_activation(task.model)

    def compute(index: int) -> Tensor:
        activated_NF: Tensor = function(ffn_in(student[index]))
        return activated_NF

    return compute


def _fold_output(linear: Any, basis_DS: Tensor) -> Linear:
    """Return a map whose output is in the basis."""
    return Linear(basis_DS.T @ linear.weight, linear.bias @ basis_DS)


def _name_tensors(fitted: Mapping[str, Linear]) -> dict[str, Tensor]:
    weights = {f"{path}.weight": linear.weight_YX for path, linear in fitted.items()}
    return weights | {f"{path}.bias": linear.bias_Y for path, linear in fitted.items()}


def _is_embedding_table(layout: FamilyLayout, name: str) -> bool:
    part, axes, _ = layout.locate(name)
    return part == "embeddings" and len(axes) == 2
