"""Factorize the embeddings into two thin tables, V × E and E × D, in a stock class that has both: Electra's.

Shapes: **N** rows, **V** vocabulary, **D** hidden, **E** width of the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.families import list_families
from harness.models.families.table import LAYOUTS, find_layout, is_tied
from harness.models.loading.checkpoint import assemble_model
from harness.models.narrowing import activations
from harness.models.narrowing.activations import States, TextSample
from harness.models.narrowing.least_squares import AffineFit, Covariance, Linear, Regression
from harness.models.narrowing.mlm_head import fit_head
from harness.models.surgery.importance import Batch

_RIDGE = 1e-6
_ELECTRA = LAYOUTS["electra"]
_HEAD = {
    "cls.predictions.transform.dense": _ELECTRA.head_dense,
    "cls.predictions.transform.LayerNorm": _ELECTRA.head_norm,
}
_COPIED_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
)


@torch.no_grad()
def factorize_embeddings(model: PreTrainedModel, embedding: int, batches: Iterable[Batch]) -> PreTrainedModel:
    """Return the Electra encoder whose embeddings are V × E and E × D, fitted to a BERT encoder on text.

    The tables hold the directions of the embeddings that vary most on the text; their norm, the map to D and
    the head, which has E features again, are least-squares fits. The layers stay as they are.

    Approximate: BERT's norm comes after the sum of D dimensions, Electra's before the map, over E; what lies
    outside the first E principal directions is lost.

    Args:
        model: a BERT encoder; it is left as it was.
        embedding: the width E, below the hidden size.
        batches: text of the language: ``input_ids``, ``attention_mask`` and ``labels`` where masked.

    Raises:
        HarnessError: another family, no text, or a width that saves nothing.
    """
    config: Any = model.config
    if config.model_type not in (able := list_families("factorise")):
        raise HarnessError(
            f"factorise: expected a {' or '.join(able)} encoder, whose layers Electra shares; got "
            f"{config.model_type}; narrow or trim it instead"
        )
    if not 0 < embedding < config.hidden_size:
        raise HarnessError(
            f"factorise: expected embeddings of 1 to {config.hidden_size - 1}, below the hidden size; "
            f"got {embedding}; choose another width"
        )
    sample = TextSample(batches)
    tensors, teacher, student = _fit_embeddings(model, embedding, sample)
    for name, parameter in model.named_parameters():
        if name.startswith("bert.encoder."):
            tensors[name.replace("bert.", "electra.", 1)] = parameter.detach().clone()
    for number in range(config.num_hidden_layers):
        teacher, student = (_run_layer(model, number, rows, sample) for rows in (teacher, student))
    word_VE = tensors[f"{_ELECTRA.word}.weight"]
    tensors |= _rename_head(model, fit_head(model, word_VE, teacher, student, sample.loss_rows()))
    return assemble_model(_ELECTRA, _make_config(model, embedding), tensors)


def _make_config(model: PreTrainedModel, embedding: int) -> Any:
    kept = {name: getattr(model.config, name) for name in _COPIED_KEYS}
    return _ELECTRA.config_class(**kept, embedding_size=embedding, tie_word_embeddings=is_tied(model))


def _fit_embeddings(
    model: Any, embedding: int, sample: TextSample
) -> tuple[dict[str, Tensor], States, States]:
    """Return the tables, their norm and the map; then the streams of teacher and student after them."""
    summed, teacher = activations.run_embeddings(model, sample)
    sums, fit, regression = Covariance(), AffineFit(), Regression()
    for rows_ND in teacher:
        sums.add(rows_ND)
    basis_DE = torch.linalg.eigh(sums.covariance()).eigenvectors.flip(1)[:, :embedding].float()
    fold_DE = model.bert.embeddings.LayerNorm.weight[:, None] * basis_DE
    fold_DE = fold_DE - fold_DE.mean(0)  # BERT's norm subtracts the mean over D
    before = [rows_ND @ fold_DE for rows_ND in summed]
    normed = [layer_norm(rows_NE, (embedding,), eps=model.config.layer_norm_eps) for rows_NE in before]
    for rows_NE, target_ND in zip(normed, teacher, strict=True):
        fit.add(rows_NE, target_ND @ basis_DE)
        regression.add(rows_NE, target_ND)
    norm, across = Linear(*fit.solve()), regression.solve(_RIDGE)
    project = _undo_norm(across, norm)
    prefix = "electra.embeddings"
    tensors = {
        f"{prefix}.LayerNorm.weight": norm.weight_YX,
        f"{prefix}.LayerNorm.bias": norm.bias_Y,
        f"{prefix}_project.weight": project.weight_YX,
        f"{prefix}_project.bias": project.bias_Y,
    }
    for table in ("word", "position", "token_type"):
        name = f"{table}_embeddings.weight"
        tensors[f"{prefix}.{name}"] = model.get_parameter(f"bert.embeddings.{name}") @ fold_DE
    return tensors, teacher, [across(rows_NE) for rows_NE in normed]


def _undo_norm(across: Linear, norm: Linear) -> Linear:
    """Return the map that equals ``across`` after the norm's gain and bias are applied to its input."""
    weight_DE = across.weight_YX / norm.weight_YX
    return Linear(weight_DE, across.bias_Y - weight_DE @ norm.bias_Y)


def _run_layer(model: PreTrainedModel, number: int, states: States, sample: TextSample) -> States:
    return [
        activations.run_layer(model, number, rows_ND, attended_BL).after_ND
        for rows_ND, attended_BL in zip(states, sample.attended, strict=True)
    ]


def _rename_head(model: PreTrainedModel, head: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the head's parameters by Electra's names."""
    renamed = {}
    for name, tensor in head.items():
        module, _, kind = name.rpartition(".")
        axes = find_layout(model).locate(name)[1]
        renamed[f"{_HEAD.get(module, _ELECTRA.decoder)}.{'bias' if axes == ('V',) else kind}"] = tensor
    return renamed
