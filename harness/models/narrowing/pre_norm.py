"""Fit every map of a narrower pre-norm encoder to the wide model's states on text, layer by layer.

In a pre-norm encoder each sublayer reads the residual stream through a norm of its own and adds to it. So
the gains of the norms go into the maps that read them, and a norm without gains lets a change of basis pass
(`pre_norm_stream`). The layers are fitted from the bottom to the top; the student runs on the same text:

- A map that reads the stream is composed with the linear map from the student's norm to the teacher's norm
  and gains that comes nearest on text.
- Heads are dropped whole, since positions rotate their dimensions: those stay whose outputs together come
  nearest to the outputs of all.
- A map that writes the stream is the least-squares answer to "what must be added so that the student's stream
  is the teacher's in the basis", on the student's own activations: each sublayer corrects what those below it
  lost.

Each fit is drawn towards the map with the basis folded in, which is exact where the basis holds the stream.
There are no biases. Layer 0 of ModernBERT, whose attention reads the stream without a norm, is fitted alike.

Memory: a few states of each token of the sample; the sums of the fits are float64 and do not grow with the
text.

Shapes: **B** batch, **L** length, **D** hidden, **S** hidden of the narrower model, **A** heads × head size,
**H** heads, **F** FFN, **X** what a map reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.models.families.layout import FamilyLayout, PreNorm
from harness.models.families.table import find_layout
from harness.models.narrowing.activations import States, TextSample
from harness.models.narrowing.least_squares import Linear, Regression
from harness.models.narrowing.pre_norm_head import fit_head
from harness.models.narrowing.pre_norm_stream import Stream, make_stream, narrow_embeddings
from harness.models.surgery.axes import narrow
from harness.models.surgery.importance import Batch

_READ_RIDGE = 1e-6
_WRITE_RIDGE = 1e-4
_HEAD_RIDGE = 1e-6

Calls = Sequence[Sequence[Mapping[str, Any]]]


class _Sublayer(NamedTuple):
    """A sublayer of one of the two models.

    Attributes:
        norm: the norm that it reads, or the identity.
        body: the sublayer without its norm.
        into: the map that reads the norm.
        out: the map that writes the stream.
    """

    norm: nn.Module
    body: nn.Module
    into: Any
    out: Any

    def run(self, read: States, calls: Sequence[Mapping[str, Any]]) -> tuple[States, States]:
        """Return what the last map reads, and what the sublayer adds to the stream, for each batch."""
        features: States = []
        hook = self.out.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        try:
            added = [self.body(read_BLD, **call) for read_BLD, call in zip(read, calls, strict=True)]
        finally:
            hook.remove()
        return features, [one[0] if isinstance(one, tuple) else one for one in added]


@dataclass(frozen=True)
class _Task:
    """What is to be fitted, and the text.

    Attributes:
        model: the wide model.
        student: the narrower model, whose weights are replaced.
        stream: of the student.
        sample: the text.
    """

    model: PreTrainedModel
    student: PreTrainedModel
    stream: Stream
    sample: TextSample

    @property
    def layout(self) -> FamilyLayout:
        return find_layout(self.model)

    @property
    def paths(self) -> PreNorm:
        paths = self.layout.pre_norm
        assert paths is not None, "a pre-norm family has these paths"
        return paths

    def find(self, model: PreTrainedModel, number: int, part: str) -> _Sublayer:
        """Return a sublayer, ``attention`` or ``ffn``, of a layer."""
        layout, paths = self.layout, self.paths
        norm, into, out = (
            (paths.attention_norm, paths.attention_in, layout.attention_out)
            if part == "attention"
            else (paths.ffn_norm, layout.ffn_in, layout.ffn_out)
        )
        layer: Any = model.get_submodule(f"{layout.layers}.{number}")
        return _Sublayer(*(layer.get_submodule(path) for path in (norm, out.rpartition(".")[0], into, out)))


class _Streams(NamedTuple):
    """The residual streams of both models at one place, B × L × D and B × L × S, for each batch."""

    teacher: States
    student: States


@torch.no_grad()
def refit_pre_norm(
    model: PreTrainedModel, basis_DS: Tensor, heads: int, batches: Iterable[Batch]
) -> PreTrainedModel:
    """Return the narrower model, fitted.

    Invariants: where the basis holds the stream, and the heads that are dropped add nothing, the encoder
    computes what it computed, up to rounding. The MLM head is fitted (`pre_norm_head`).

    Args:
        model: the model to narrow, of a pre-norm family; it is left as it was.
        basis_DS: the directions of the stream that stay, the most important first; the last is lost, since
            one dimension is for the mean, which norms take away.
        heads: how many heads stay, of the model's size.
        batches: corpus text, ``input_ids``, ``attention_mask`` and ``labels`` where masked.
    """
    student = narrow(model, basis_DS.shape[1], heads)
    dtype = model.get_input_embeddings().weight.dtype
    exact = make_stream(basis_DS)
    stream = Stream(exact.down_DS.to(dtype), exact.up_SD.to(dtype), exact.units_S)
    task = _Task(model, student, stream, TextSample(batches))
    for name, parameter in student.named_parameters():
        if task.layout.locate(name)[1] == ("D",) and name.endswith(".weight"):
            parameter.fill_(1)
    streams = _fit_embeddings(task, exact.down_DS)
    calls = _record_calls(task)
    for number in range(model.config.num_hidden_layers):
        for part in ("attention", "ffn"):
            own = [batch[number] if part == "attention" else {} for batch in calls]
            pair = (task.find(model, number, part), task.find(student, number, part))
            streams = _fit_sublayer(task, pair, streams, own)
    last = (_read_last(task, model, streams.teacher), _read_last(task, student, streams.student))
    fit_head((model, student), last, stream.units_S, task.sample.loss_rows())
    return student


def _read_last(task: _Task, model: PreTrainedModel, states: States) -> States:
    """Return what the MLM head reads, the attended rows of each batch."""
    norm = model.get_submodule(task.paths.final_norm)
    return [norm(rows)[attended_BL] for rows, attended_BL in zip(states, task.sample.attended, strict=True)]


def _fit_embeddings(task: _Task, down_DS: Tensor) -> _Streams:
    model, student, path = task.model, task.student, task.layout.residual[0]
    rows_VS, gain_S = narrow_embeddings(
        model.get_input_embeddings().weight, model.get_submodule(path).weight, down_DS
    )
    student.get_input_embeddings().weight.copy_(rows_VS)
    student.get_submodule(path).weight.copy_(gain_S)
    return _Streams(
        *(
            [one.base_model.embeddings(input_ids=batch["input_ids"]) for batch in task.sample.batches]
            for one in (model, student)
        )
    )


def _record_calls(task: _Task) -> Calls:
    """Return what each layer is called with besides the stream, for each batch: masks and positions."""
    calls: list[list[Mapping[str, Any]]] = []
    layers: Any = task.model.get_submodule(task.layout.layers)
    hooks = [
        layer.register_forward_pre_hook(lambda _, __, named: calls[-1].append(named), with_kwargs=True)
        for layer in layers
    ]
    try:
        for batch in task.sample.batches:
            calls.append([])
            task.model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _fit_sublayer(
    task: _Task,
    pair: tuple[_Sublayer, _Sublayer],
    streams: _Streams,
    calls: Sequence[Mapping[str, Any]],
) -> _Streams:
    """Fit the student's sublayer, the second of a pair, and run both models through it."""
    wide, small = pair
    down_DS, attended = task.stream.down_DS, task.sample.attended
    read_wide = [wide.norm(rows_BLD) for rows_BLD in streams.teacher]
    read = [small.norm(rows_BLS) for rows_BLS in streams.student]
    features_wide, added = wide.run(read_wide, calls)
    into_XD, out_DX = wide.into.weight, wide.out.weight
    if small.out.weight.shape[1] < out_DX.shape[1]:
        heads = task.student.config.num_attention_heads
        size = down_DS.shape[1] // heads
        kept_A = _choose_heads(features_wide, attended, down_DS.T @ out_DX, heads, size)
        into_XD = into_XD.unflatten(0, (-1, out_DX.shape[1]))[:, kept_A].flatten(0, 1)
        out_DX = out_DX[:, kept_A]
    gain_D = getattr(wide.norm, "weight", torch.ones(len(down_DS), dtype=down_DS.dtype))
    across_DS = _regress(read, read_wide, attended, _READ_RIDGE, gain_D[:, None] * task.stream.up_SD.T)
    small.into.weight.copy_(into_XD @ across_DS)
    features, _ = small.run(read, calls)
    after = [rows_BLD + added_BLD for rows_BLD, added_BLD in zip(streams.teacher, added, strict=True)]
    lacking = [
        after_BLD @ down_DS - rows_BLS for after_BLD, rows_BLS in zip(after, streams.student, strict=True)
    ]
    small.out.weight.copy_(_regress(features, lacking, attended, _WRITE_RIDGE, down_DS.T @ out_DX))
    student = [
        rows_BLS + small.out(features_BLX)
        for rows_BLS, features_BLX in zip(streams.student, features, strict=True)
    ]
    return _Streams(after, student)


def _regress(
    read: States, target: States, attended: Sequence[Tensor], ridge: float, prior_YX: Tensor
) -> Tensor:
    """Return the matrix of least squared error on attended rows, drawn towards a prior."""
    regression = Regression(constant=False)
    for read_BLX, target_BLY, attended_BL in zip(read, target, attended, strict=True):
        regression.add(read_BLX[attended_BL], target_BLY[attended_BL])
    return regression.solve(ridge, Linear(prior_YX, prior_YX.new_zeros(len(prior_YX)))).weight_YX


def _choose_heads(
    features: States, attended: Sequence[Tensor], out_SA: Tensor, heads: int, size: int
) -> Tensor:
    """Return the columns of the heads that stay.

    One head at a time is dropped: the one without which the least-squares map of the others' outputs comes
    nearest to what all heads add to the stream.
    """
    gram_AA = torch.zeros(out_SA.shape[1], out_SA.shape[1], dtype=torch.float64)
    for features_BLA, attended_BL in zip(features, attended, strict=True):
        rows_NA = features_BLA[attended_BL]
        gram_AA += (rows_NA.T @ rows_NA).double()
    cross_SA = out_SA.double() @ gram_AA
    gram_AA += _HEAD_RIDGE * gram_AA.diagonal().mean() * torch.eye(len(gram_AA), dtype=gram_AA.dtype)
    kept_HK = torch.arange(len(gram_AA)).view(-1, size)

    def explain(columns_HK: Tensor) -> float:
        columns_A = columns_HK.flatten()
        part_SA = cross_SA[:, columns_A]
        return float((part_SA * torch.linalg.solve(gram_AA[columns_A][:, columns_A], part_SA.T).T).sum())

    while len(kept_HK) > heads:
        others = [torch.cat([kept_HK[:head], kept_HK[head + 1 :]]) for head in range(len(kept_HK))]
        kept_HK = max(others, key=explain)
    return kept_HK.flatten()
