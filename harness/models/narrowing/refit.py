"""A narrower model whose every map is fitted, layer by layer, to what the wide model says on text.

The stream of the narrow model is to hold the wide one's in another basis: ``student ≈ teacher @ basis``.
Folding the basis into each weight alone (`surgery.fold`) makes errors that add up, and the norms are off: a
post-norm encoder scales each dimension after each sublayer, so that no rotation passes through, and norms of
fewer dimensions have other means and deviations. So here, from the bottom to the top, the student runs on the
same text. What reads the stream is composed with the best linear guess of the teacher's stream from the
student's. What writes it is the least-squares answer to "what must be added so that the norm gives the
teacher's stream", on the student's own activations, so that each sublayer mends what those below it lost.
Each norm's gains and biases are the least-squares ones.

What stays approximate: the norm's scale in that question is the one it would have with the basis folded in.
What lies outside the basis is lost. Rotation and gain are reconciled on average over text, not by token.

Memory: a few states of each token of the sample, and its attention weights; the sums of the fits are float64
and do not grow with it.

Shapes: **N** rows, **D** hidden, **S** hidden of the narrower model, **A** heads × head size, **H** heads,
**K** head size, **F** FFN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from harness.models.families.layout import FamilyLayout
from harness.models.families.table import find_layout
from harness.models.narrowing import activations
from harness.models.narrowing.activations import LayerActivations, States, TextSample, norm_eps
from harness.models.narrowing.heads import narrow_queries_and_keys, narrow_values_and_outputs
from harness.models.narrowing.least_squares import (
    AffineFit,
    Covariance,
    Linear,
    Regression,
    append_bias,
    split_bias,
    square_roots,
)
from harness.models.narrowing.mlm_head import fit_head
from harness.models.surgery.importance import Batch

_READ_RIDGE = 1e-6
_WRITE_RIDGE = 1e-4
_LEAST_GAIN = 0.1
"""No dimension is asked to be scaled up by more than ten times the mean, which would fit noise."""


@torch.no_grad()
def refit(
    model: PreTrainedModel, basis_DS: Tensor, heads: int, batches: Iterable[Batch], *, within: str = "svd"
) -> dict[str, Tensor]:
    """Gives every parameter of the narrower model, by name, tied ones once.

    Holds: with every dimension kept as it is, and all heads, the encoder computes what it computed up to
    rounding. The head is fitted all the same, and its dense layer gives linear maps only.

    Args:
        model: the model to narrow, of a post-norm family.
        basis_DS: the directions of the stream that stay.
        heads: how many heads stay: those that write most, where not all do.
        batches: corpus text, ``input_ids``, ``attention_mask`` and ``labels`` where masked.
        within: ``svd`` (weighted by the text), or ``first`` dimensions of each head.
    """
    fit = _Refit(model, basis_DS, heads, TextSample(batches), within)
    fit.embeddings()
    for number in range(model.config.num_hidden_layers):
        fit.layer(number)
    word_VS = fit.tensors[f"{fit.family.word}.weight"]
    return fit.tensors | fit_head(model, word_VS, fit.teacher, fit.student, fit.sample.asked())


class _Heads(NamedTuple):
    """The maps of each head, biases of what reads as last column."""

    query_HKS: Tensor
    key_HKS: Tensor
    value_HKS: Tensor
    out_HKS: Tensor


class _Sublayer(NamedTuple):
    """What a sublayer is fitted to.

    Attributes:
        out: path of the map that writes the stream.
        norm: path of the norm after it.
        features: gives what the map reads of a batch.
        added: what the teacher's sublayer adds.
        after: the teacher's stream after the norm.
        prior: a first guess of the map.
    """

    out: str
    norm: str
    features: Callable[[int], Tensor]
    added: States
    after: States
    prior: Linear


class _Refit:
    """The two models side by side on the sample, as far up as the student is fitted."""

    teacher: States
    student: States

    def __init__(
        self, model: PreTrainedModel, basis_DS: Tensor, heads: int, sample: TextSample, within: str
    ) -> None:
        self.model, self.family, self.sample, self.within = model, find_layout(model), sample, within
        self.basis_DS, self.heads = basis_DS, heads
        self.size = basis_DS.shape[1] // heads
        self.eps = norm_eps(model)
        self.tensors: dict[str, Tensor] = {}

    def embeddings(self) -> None:
        """Folds the norm's gain into the tables, but for its mean; then fits gains and biases anew."""
        summed, self.teacher = activations.run_embeddings(self.model, self.sample)
        norm: Any = self.model.get_submodule(self.family.residual[0])
        mean_S = (norm.weight.square() @ self.basis_DS.square()).sqrt().clamp_min(1e-6)
        fold_DS = norm.weight[:, None] * self.basis_DS / mean_S
        fold_DS = fold_DS - fold_DS.mean(0)
        for name, table in self.model.named_parameters(remove_duplicate=False):
            if _is_table(self.family, name):
                self.tensors[name] = table @ fold_DS
        wanted = [rows_ND @ self.basis_DS for rows_ND in self.teacher]
        self._norm(self.family.residual[0], [rows_ND @ fold_DS for rows_ND in summed], wanted)

    def layer(self, number: int) -> None:
        """Fits one layer and moves both models past it."""
        paths, parts = (
            read(self.model, number) for read in (activations.layer_paths, activations.layer_modules)
        )
        passes = self._pass(number)
        prior = self._attention(paths, parts, passes)
        added, middle = [one.attention_ND for one in passes], [one.middle_ND for one in passes]
        mixed = self._mixed(paths).__getitem__
        names = paths["attention_out"], paths["attention_norm"]
        self._write(_Sublayer(*names, mixed, added, middle, prior))
        self._put(paths["ffn_in"], _compose(parts["ffn_in"], self._guess(middle)))
        added, after = [one.ffn_ND for one in passes], [one.after_ND for one in passes]
        prior = _fold_out(parts["ffn_out"], self.basis_DS)
        names = paths["ffn_out"], paths["ffn_norm"]
        self._write(_Sublayer(*names, self._neurons(paths["ffn_in"]), added, after, prior))
        self.teacher = after

    def _pass(self, number: int) -> list[LayerActivations]:
        return [
            activations.run_layer(self.model, number, rows_ND, attended_BL)
            for rows_ND, attended_BL in zip(self.teacher, self.sample.attended, strict=True)
        ]

    def _attention(
        self, paths: dict[str, str], parts: dict[str, Any], passes: Sequence[LayerActivations]
    ) -> Linear:
        """Fits query, key and value; gives a first guess of the map out."""
        guess = self._guess(self.teacher)
        whole = self.model.config.num_attention_heads
        query, key, value = (
            append_bias(_compose(parts[name], guess)).view(whole, -1, self.basis_DS.shape[1] + 1)
            for name in ("query", "key", "value")
        )
        out_HKS = (self.basis_DS.T @ parts["attention_out"].weight).T.unflatten(0, (whole, -1))
        kept = self._loudest(out_HKS, parts["attention_norm"].weight, passes)
        whole_heads = _Heads(query[kept], key[kept], value[kept], out_HKS[kept])
        narrowed = self._within(whole_heads, kept, parts["attention_norm"].weight, passes)
        for name, map_HKS in zip(("query", "key", "value"), narrowed[:3], strict=True):
            self._put(paths[name], split_bias(map_HKS.flatten(0, 1).float()))
        bias_S = parts["attention_out"].bias @ self.basis_DS
        return Linear(narrowed.out_HKS.flatten(0, 1).T.float().contiguous(), bias_S)

    def _loudest(self, out_HKS: Tensor, gain_D: Tensor, passes: Sequence[LayerActivations]) -> Tensor:
        """Gives the heads to keep, in order: those whose writing varies most on text."""
        if self.heads == len(out_HKS):
            return torch.arange(self.heads)
        spread = Covariance()
        for one in passes:
            spread.add(one.mixed_NA)
        size = out_HKS.shape[1]
        blocks_HKK = torch.stack(
            [
                spread.covariance()[at : at + size, at : at + size]
                for at in range(0, len(out_HKS) * size, size)
            ]
        )
        out_HKS = out_HKS.double() * (gain_D.double() @ self.basis_DS.double() ** 2)
        energy_H = (out_HKS * (blocks_HKK @ out_HKS)).sum((1, 2))
        return energy_H.argsort(descending=True)[: self.heads].sort().values

    def _within(
        self, heads: _Heads, kept: Tensor, gain_D: Tensor, passes: Sequence[LayerActivations]
    ) -> _Heads:
        """Gives the heads with fewer dimensions each."""
        old, size = heads.query_HKS.shape[1], self.size
        if size == old:
            return heads
        if self.within == "first":
            first = _Heads(*(one_HKS[:, :size] for one_HKS in heads))
            return first._replace(query_HKS=first.query_HKS * (size / old) ** 0.5)
        seen = Covariance()
        for rows_NS in self.student:
            seen.add(rows_NS)
        moments = square_roots(seen.second_moment()), square_roots(seen.covariance())
        query_HKS, key_HKS = narrow_queries_and_keys(heads.query_HKS, heads.key_HKS, size, *moments)
        gain_S = (gain_D @ self.basis_DS.square()).abs()
        moment_HSS = self._seen_by_heads(kept, passes)
        value_HKS, out_HKS = narrow_values_and_outputs(
            heads.value_HKS, heads.out_HKS, size, moment_HSS, gain_S
        )
        return _Heads(query_HKS, key_HKS, value_HKS, out_HKS)

    def _seen_by_heads(self, kept: Tensor, passes: Sequence[LayerActivations]) -> Tensor:
        """Gives the second moment, with the constant, of the student's rows as each kept head mixes them."""
        spreads = [Covariance() for _ in kept]
        for one, rows_NS, attended_BL in zip(passes, self.student, self.sample.attended, strict=True):
            mixed_NHS = activations.mix_rows(one.weights_BHLL[:, kept], rows_NS, attended_BL)
            for head, spread in enumerate(spreads):
                spread.add(mixed_NHS[:, head])
        return torch.stack([spread.second_moment() for spread in spreads])

    def _mixed(self, paths: dict[str, str]) -> States:
        """Gives what the student's heads read of the sample."""
        query, key, value = (self._get(paths[name]) for name in ("query", "key", "value"))
        mixed = []
        for rows_NS, attended_BL in zip(self.student, self.sample.attended, strict=True):
            weights_BHLL = activations.attention_weights(
                query(rows_NS), key(rows_NS), attended_BL, self.heads
            )
            mixed.append(activations.mix_values(weights_BHLL, value(rows_NS), attended_BL))
        return mixed

    def _neurons(self, path: str) -> Callable[[int], Tensor]:
        """Gives what gives the student's FFN activations of a batch; they are too many to keep."""
        ffn_in, function, student = (
            self._get(path),
            activations.ffn_activation(self.model),
            self.student,
        )

        def neurons(index: int) -> Tensor:
            activated_NF: Tensor = function(ffn_in(student[index]))
            return activated_NF

        return neurons

    def _guess(self, wanted: States) -> Linear:
        """Gives the best linear guess of the teacher's stream from the student's."""
        regression = Regression()
        for rows_NS, wanted_ND in zip(self.student, wanted, strict=True):
            regression.add(rows_NS, wanted_ND)
        return regression.solve(_READ_RIDGE)

    def _write(self, part: _Sublayer) -> None:
        """Fits the map that writes a sublayer and its norm, and moves the student past it."""
        wanted = [rows_ND @ self.basis_DS for rows_ND in part.after]
        plain = [
            rows_NS + more_ND @ self.basis_DS
            for rows_NS, more_ND in zip(self.student, part.added, strict=True)
        ]
        gain_S, bias_S = self._gains(plain, wanted)
        gain_S = _not_tiny(gain_S)
        regression = Regression()
        for index, rows_NS in enumerate(self.student):
            scale_N = plain[index].std(1, unbiased=False, keepdim=True).clamp_min(1e-6)
            asked_NS = scale_N * (wanted[index] - bias_S) / gain_S + plain[index].mean(1, keepdim=True)
            regression.add(part.features(index), asked_NS - rows_NS, 1 / scale_N[:, 0])
        out = regression.solve(_WRITE_RIDGE, part.prior)
        self._put(part.out, out)
        sums = [rows_NS + out(part.features(index)) for index, rows_NS in enumerate(self.student)]
        self._norm(part.norm, sums, wanted)

    def _norm(self, path: str, before: States, wanted: States) -> None:
        """Fits a norm, and takes what it gives as the student's stream."""
        gain_S, bias_S = self._gains(before, wanted)
        self._put(path, Linear(gain_S, bias_S))
        self.student = [layer_norm(rows_NS, gain_S.shape, gain_S, bias_S, self.eps) for rows_NS in before]

    def _gains(self, before: States, wanted: States) -> tuple[Tensor, Tensor]:
        gain = AffineFit()
        for rows_NS, wanted_NS in zip(before, wanted, strict=True):
            gain.add(layer_norm(rows_NS, rows_NS.shape[-1:], eps=self.eps), wanted_NS)
        return gain.solve()

    def _put(self, path: str, linear: Linear) -> None:
        self.tensors[f"{path}.weight"], self.tensors[f"{path}.bias"] = linear

    def _get(self, path: str) -> Linear:
        return Linear(self.tensors[f"{path}.weight"], self.tensors[f"{path}.bias"])


def _compose(linear: Any, guess: Linear) -> Linear:
    """Gives the map that reads a guess of what the linear layer reads."""
    return Linear(linear.weight @ guess.weight_YX, linear(guess.bias_Y))


def _fold_out(linear: Any, basis_DS: Tensor) -> Linear:
    return Linear(basis_DS.T @ linear.weight, linear.bias @ basis_DS)


def _not_tiny(gain_S: Tensor) -> Tensor:
    least = _LEAST_GAIN * gain_S.square().mean().sqrt()
    return torch.where(gain_S < 0, gain_S.clamp_max(-least), gain_S.clamp_min(least))


def _is_table(family: FamilyLayout, name: str) -> bool:
    """Says whether a parameter is a table of the embeddings."""
    part, axes, _ = family.locate(name)
    return part == "embeddings" and len(axes) == 2
