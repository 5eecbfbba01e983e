"""Embeddings as two thin tables, V × E and E × D, in a stock class that has them: Electra's.

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
from harness.families import families_that
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
_COPIED = (
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
    """Gives the Electra encoder whose embeddings are V × E and E × D, fitted to a BERT encoder on text.

    The tables hold what of the embeddings varies most on the text; their norm, the map to D and the head,
    which gives E features again, are least-squares fits. The layers stay as they are.

    Approximate: BERT's norm comes after the sum of D dimensions, Electra's before the map, over E; what the
    first E principal directions do not hold is lost.

    Args:
        model: a BERT encoder; left as it was.
        embedding: the width E, below the hidden size.
        batches: text of the language: ``input_ids``, ``attention_mask`` and ``labels`` where masked.

    Raises:
        HarnessError: another family, no text, or a width that saves nothing.
    """
    config: Any = model.config
    if config.model_type not in (able := families_that("factorise")):
        raise HarnessError(
            f"factorise: wanted a {' or '.join(able)} encoder, whose layers Electra's are; got "
            f"{config.model_type}; narrow or trim it instead"
        )
    if not 0 < embedding < config.hidden_size:
        raise HarnessError(
            f"factorise: wanted embeddings of 1 to {config.hidden_size - 1}, below the hidden size; "
            f"got {embedding}; choose another width"
        )
    sample = TextSample(batches)
    tensors, teacher, student = _embeddings(model, embedding, sample)
    for name, parameter in model.named_parameters():
        if name.startswith("bert.encoder."):
            tensors[name.replace("bert.", "electra.", 1)] = parameter.detach().clone()
    for number in range(config.num_hidden_layers):
        teacher, student = (_pass(model, number, rows, sample) for rows in (teacher, student))
    word_VE = tensors[f"{_ELECTRA.word}.weight"]
    tensors |= _renamed(model, fit_head(model, word_VE, teacher, student, sample.asked()))
    return assemble_model(_ELECTRA, _config(model, embedding), tensors)


def _config(model: PreTrainedModel, embedding: int) -> Any:
    kept = {name: getattr(model.config, name) for name in _COPIED}
    return _ELECTRA.config_class(**kept, embedding_size=embedding, tie_word_embeddings=is_tied(model))


def _embeddings(model: Any, embedding: int, sample: TextSample) -> tuple[dict[str, Tensor], States, States]:
    """Gives the tables, their norm and the map; then the teacher's stream after them, and the student's."""
    summed, teacher = activations.run_embeddings(model, sample)
    spread, gain, regression = Covariance(), AffineFit(), Regression()
    for rows_ND in teacher:
        spread.add(rows_ND)
    basis_DE = torch.linalg.eigh(spread.covariance()).eigenvectors.flip(1)[:, :embedding].float()
    fold_DE = model.bert.embeddings.LayerNorm.weight[:, None] * basis_DE
    fold_DE = fold_DE - fold_DE.mean(0)  # the norm before takes off the mean over D
    before = [rows_ND @ fold_DE for rows_ND in summed]
    normed = [layer_norm(rows_NE, (embedding,), eps=model.config.layer_norm_eps) for rows_NE in before]
    for rows_NE, wanted_ND in zip(normed, teacher, strict=True):
        gain.add(rows_NE, wanted_ND @ basis_DE)
        regression.add(rows_NE, wanted_ND)
    norm, across = Linear(*gain.solve()), regression.solve(_RIDGE)
    project = _without(across, norm)
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


def _without(across: Linear, norm: Linear) -> Linear:
    """Gives the map that reads what the norm's gain and bias make of what ``across`` reads."""
    weight_DE = across.weight_YX / norm.weight_YX
    return Linear(weight_DE, across.bias_Y - weight_DE @ norm.bias_Y)


def _pass(model: PreTrainedModel, number: int, states: States, sample: TextSample) -> States:
    return [
        activations.run_layer(model, number, rows_ND, attended_BL).after_ND
        for rows_ND, attended_BL in zip(states, sample.attended, strict=True)
    ]


def _renamed(model: PreTrainedModel, head: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives the head's parameters by Electra's names."""
    found = {}
    for name, tensor in head.items():
        module, _, kind = name.rpartition(".")
        axes = find_layout(model).locate(name)[1]
        found[f"{_HEAD.get(module, _ELECTRA.decoder)}.{'bias' if axes == ('V',) else kind}"] = tensor
    return found
