"""Stock transformers models with the weights of a folder: whole, or refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from transformers.models.auto.auto_factory import _get_model_class

from harness.models.loading.folder import ModelFolder, find_weight_files, quiet, summarize_error
from harness.models.loading.settings import load_config
from harness.models.loading.tensors import (
    build_on_meta,
    check_heads,
    check_missing,
    check_stored_tensors,
    list_tensors,
)

_PROBE_TOKENS = 3


class LoadedModel(NamedTuple):
    """A model with the weights of a folder.

    Attributes:
        model: in evaluation mode, float32.
        missing: parameters of new parts that the folder has no tensor for, sorted; their values are random.
    """

    model: Any
    missing: tuple[str, ...]


def load_stock_model(
    folder: ModelFolder,
    model_class: Any,
    *,
    head: Mapping[str, Any] | None = None,
    new_head: bool = False,
    head_advice: str | None = None,
    **options: Any,
) -> LoadedModel:
    """Load the weights of a folder into a stock class.

    Invariants: every tensor of the folder is read, or belongs to a whole head of another stock class of the
    family; every parameter of the encoder has its tensor; the model runs.

    Args:
        folder: a checked folder.
        model_class: a stock class, or an ``Auto`` class.
        head: the labels of the head (`harness.models.loading.settings.HEAD_KEYS`); None for a class without.
        new_head: whether parts outside the encoder may be new as a whole; their values are then random.
        head_advice: what to do where a tensor outside the encoder has another shape.
        options: arguments of the class.

    Raises:
        HarnessError: one line that names the key or the tensor that does not fit.
    """
    config = load_config(folder, head)
    tensors = list_tensors(folder, find_weight_files(folder))
    _check_layers(folder, config, len(tensors))
    stock = _find_stock_class(folder, model_class, config)
    check_stored_tensors(folder, build_on_meta(folder, stock, config, **options), tensors, head_advice)
    try:
        with quiet():
            model, info = stock.from_pretrained(
                folder.path,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                local_files_only=True,
                **options,
            )
    except Exception as error:  # transformers raises whatever its parts raise
        reason = summarize_error(error)
        raise folder.error("weights that fit config.json", reason, "save the model again") from error
    missing = {*info["missing_keys"]} - {*getattr(model, "all_tied_weights_keys", {})}
    check_missing(folder, model, missing, new_head=new_head)
    check_heads(folder, model, tensors, info["unexpected_keys"])
    _check_finite(folder, model)
    _check_runs(folder, model.eval())
    return LoadedModel(model, tuple(sorted(missing)))


def _check_finite(folder: ModelFolder, model: Any) -> None:
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            got = f"infinite ones or NaN in '{name}'"
            raise folder.error("weights that are numbers", got, "fetch or train it again")


def _check_layers(folder: ModelFolder, config: Any, num_tensors: int) -> None:
    """Refuse more layers than the weights can hold, before memory is taken for them."""
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > num_tensors:
        got = f"num_hidden_layers {layers:,} and {num_tensors:,} tensors"
        raise folder.error("a tensor for each layer of config.json", got, "correct config.json")


def _find_stock_class(folder: ModelFolder, model_class: Any, config: Any) -> Any:
    """Return the class that an ``Auto`` class means in the model's family."""
    if not hasattr(model_class, "_model_mapping"):
        return model_class
    try:
        return _get_model_class(config, model_class._model_mapping)
    except KeyError:
        expected = f"a model family that {model_class.__name__} has a class for"
        raise folder.error(expected, f"'{folder.model_type}'", "choose another family") from None


def _check_runs(folder: ModelFolder, model: Any) -> None:
    """Run a model once on a few tokens: a configuration may be refused only then."""
    rows = model.get_input_embeddings().num_embeddings
    ids = (torch.arange(1, 1 + _PROBE_TOKENS) % rows)[None]
    try:
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception as error:  # torch raises whatever its parts raise
        reason = summarize_error(error)
        raise folder.error("a model that runs on three tokens", reason, "correct config.json") from error
