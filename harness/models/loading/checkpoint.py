"""Encoders with their MLM head and tokenizer: built from a shape, loaded, saved for the stock classes.

No missing weight is made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.families import FAMILIES, TEACHERS, find_unsupported_setting
from harness.models.families.layout import FamilyLayout
from harness.models.families.table import LAYOUTS, is_tied
from harness.models.loading.folder import ModelFolder, escape_text, open_model_folder, quiet
from harness.models.loading.hub import locate_model
from harness.models.loading.licence import read_licence
from harness.models.loading.stock import load_stock_model
from harness.models.loading.tokenizer import check_ids_match_rows, load_tokenizer
from harness.models.loading.tokenizer_json import save_tokenizer

_BERT_DEVIATION, _BERT_WIDTH = 0.02, 768


class Checkpoint(NamedTuple):
    """An encoder with its MLM head, and the tokenizer whose ids its embedding rows are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def build_model(shape: Shape, seed: int) -> PreTrainedModel:
    """Return a masked-language model of a shape with random weights; equal seeds make equal weights.

    Weights have BERT's standard deviation of 0.02 at BERT's width of 768, and more in narrower models in
    proportion to 1/√width: the sums that a layer forms then vary as much as BERT's, whereas 0.02 throughout
    leaves the attention of a thin model even, and its training on a plateau.

    Raises:
        HarnessError: the shape's family is not in the table.
    """
    layout = LAYOUTS.get(shape.family)
    if layout is None:
        raise HarnessError(
            f"model: expected a family of {', '.join(LAYOUTS)}; got '{shape.family}'; choose one of these"
        )
    sizes = {key: shape.sizes[name] for name, key in FAMILIES[shape.family].keys.items()}
    deviation = _BERT_DEVIATION * math.sqrt(_BERT_WIDTH / shape.hidden)
    config = layout.config_class(
        **sizes, tie_word_embeddings=shape.tied, **layout.fixed, initializer_range=deviation
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return layout.model_class(config).eval()


def assemble_model(layout: FamilyLayout, config: Any, tensors: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """Return the stock model that holds these tensors, without drawing random weights first.

    Invariants: every parameter is one of ``tensors``, or tied to one by the configuration; none is copied.

    Raises:
        HarnessError: a tensor is missing, or has no place in the model.
    """
    with no_init_weights():
        model = layout.model_class(config)
    tied: dict[str, str] = model.all_tied_weights_keys
    sources = {tied.get(name, name): tensor for name, tensor in tensors.items()}
    faults = model.load_state_dict(sources, strict=False, assign=True)
    differing = sorted({*faults.missing_keys} - {*tied}) + sorted(faults.unexpected_keys)
    if differing:
        raise HarnessError(
            f"model {layout.model_type}: expected exactly its tensors; differs in '{differing[0]}'"
        )
    model.tie_weights()
    return model.eval()


def load_checkpoint(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Load an encoder with its MLM head and its tokenizer, from a folder or from the hub.

    Invariants: float32 weights, evaluation mode, one embedding row per token id.

    Args:
        source: a folder, or a hub id ``organisation/name``.
        revision: the commit (or tag) of a hub id; a folder has none.

    Raises:
        HarnessError: a file is missing or unfit; one line that says which.
    """
    folder = open_model_folder(locate_model(source, revision), str(source))
    layout = _find_layout(folder)
    tokenizer = load_tokenizer(folder)
    model = _load_masked_model(folder, layout)
    check_ids_match_rows(model, tokenizer, f"model '{folder.name}'")
    return Checkpoint(model, tokenizer)


class LoadedTeacher(NamedTuple):
    """A teacher as it was published, made complete.

    Attributes:
        checkpoint: the encoder with an MLM head, and its tokenizer.
        new_head: whether the folder had no MLM head, so that the head is random and must be fitted.
        dropped_rows: how many rows of the embeddings no token had; they are left out.
        licence: as its card states it; None where it states none.
    """

    checkpoint: Checkpoint
    new_head: bool
    dropped_rows: int
    licence: str | None


def load_teacher(source: str | Path, revision: str | None = None) -> LoadedTeacher:
    """Load an encoder as people publish it: without an MLM head, with padded embeddings, in half precision.

    Invariants: as `load_checkpoint`; the hidden states of every text are those of the stock class; a new head
    is the same each time.

    Args:
        source: a folder, or a hub id ``organisation/name``.
        revision: the commit (or tag) of a hub id; a folder has none.

    Raises:
        HarnessError: a file is missing or unfit, a part of the MLM head is missing, or the tokenizer has an
            id without a row.
    """
    folder = open_model_folder(locate_model(source, revision), str(source))
    layout = _find_layout(folder)
    tokenizer = load_tokenizer(folder)
    model, in_head = load_stock_model(folder, layout.model_class, new_head=True)
    if in_head:
        _check_no_head(folder, layout, model, in_head)
        _initialize(model, in_head)
    model.config.tie_word_embeddings = is_tied(model)
    model, tokenizer, dropped = _drop_rows(model, tokenizer)
    check_ids_match_rows(model, tokenizer, f"model '{folder.name}'")
    licence = read_licence(folder.path)
    return LoadedTeacher(Checkpoint(model.eval(), tokenizer), bool(in_head), dropped, licence)


def _initialize(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Set parameters of a head that the folder lacks: matrices random with one seed, gains 1, biases 0."""
    generator = torch.Generator().manual_seed(0)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            if name not in parameters:  # tied to the word embeddings
                continue
            if parameters[name].dim() > 1:
                parameters[name].normal_(std=model.config.initializer_range, generator=generator)
            else:
                parameters[name].fill_(0.0 if name.endswith("bias") else 1.0)
    model.tie_weights()


def _drop_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """Leave out the rows of the embeddings and of the decoder that no token has; return their number too."""
    rows, ids = model.get_input_embeddings().num_embeddings, {*tokenizer.get_vocab().values()}
    tokens = 1 + max(ids, default=-1)
    if len(ids) < tokens <= rows:
        from harness.models.tokenizers.trimming import drop_unnamed_rows  # noqa: PLC0415  it imports this module

        small = drop_unnamed_rows(model, tokenizer)
        return small.model, small.tokenizer, int(rows - len(ids))
    if tokens < rows:
        with quiet():
            model.resize_token_embeddings(tokens, mean_resizing=False)
    return model, tokenizer, max(0, int(rows - tokens))


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Write ``model.safetensors``, ``config.json`` and the tokenizer's files for the ``Auto`` classes."""
    check_ids_match_rows(model, tokenizer, f"model '{path}'")
    with quiet():
        model.save_pretrained(path)
    save_tokenizer(tokenizer, Path(path))


def _find_layout(folder: ModelFolder) -> FamilyLayout:
    if folder.model_type not in LAYOUTS:
        expected = f"a model family of {', '.join(TEACHERS)}"
        raise folder.error(expected, f"'{folder.model_type}'", "choose a model of one of these")
    unsupported = find_unsupported_setting(folder.config)
    if unsupported is not None:
        raise HarnessError(escape_text(f"model '{folder.name}': {unsupported}"))
    return LAYOUTS[folder.model_type]


def _load_masked_model(folder: ModelFolder, layout: FamilyLayout) -> PreTrainedModel:
    model, in_head = load_stock_model(folder, layout.model_class, new_head=True)
    if in_head:
        got, advice = f"none for '{in_head[0]}'", f"use a checkpoint saved from {layout.model_class.__name__}"
        raise folder.error("weights with an MLM head", got, advice)
    model.config.tie_word_embeddings = is_tied(model)
    masked_model: PreTrainedModel = model
    return masked_model


def _check_no_head(
    folder: ModelFolder, layout: FamilyLayout, model: PreTrainedModel, missing: Sequence[str]
) -> None:
    """Refuse a checkpoint with a part of an MLM head, but for what a classifier's head may be."""
    shared = f"{layout.shared_head}." if layout.shared_head else None
    head = {
        name
        for name, _ in model.named_parameters()
        if layout.locate(name)[0] == "mlm_head" and not (shared and name.startswith(shared))
    }
    if not head - {*model.all_tied_weights_keys} <= {*missing}:
        advice = "fetch it again, or take the encoder alone"
        raise folder.error("an MLM head, whole or none", f"none for '{missing[0]}'", advice)
