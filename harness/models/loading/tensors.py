"""The tensors of a checkpoint, each accounted for: read by the model, known to be another head's, or refused.

Nothing is dropped in silence, and no parameter of an encoder is made up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers.initialization import no_init_weights

from harness.errors import HarnessError
from harness.families import FAMILIES
from harness.models.loading.folder import ModelFolder, summarize_error

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_OLD_NAMES = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
_POSITIONS = re.compile(r"(^|\.)embeddings\.position_ids$")
_HEADS = (
    "Model",
    "ForPreTraining",
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
)
"""Endings of the stock classes whose heads a checkpoint may hold."""
_POOLER = "pooler"
_TOGETHER = "take config.json and weights that were saved together"


class StoredTensor(NamedTuple):
    """A tensor as its file's header describes it."""

    shape: tuple[int, ...]
    dtype: str


def list_tensors(folder: ModelFolder, files: Iterable[Path]) -> dict[str, StoredTensor]:
    """Return the tensors of a checkpoint by name.

    Raises:
        HarnessError: a tensor lies in two files, or holds position ids other than 0, 1, 2 ….
    """
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name in tensors:
                    raise folder.error(f"'{name}' in one file", f"a second in {path.name}", "save it again")
                part = file.get_slice(name)
                tensors[name] = StoredTensor(tuple(part.get_shape()), str(part.get_dtype()))
                if _POSITIONS.search(name):
                    _check_position_ids(folder, name, file.get_tensor(name))
    return tensors


def _check_position_ids(folder: ModelFolder, name: str, stored: Tensor) -> None:
    if not torch.equal(stored.flatten().long(), torch.arange(stored.numel())):
        got = f"others in '{name}'"
        raise folder.error("position ids 0, 1, 2 …", got, "choose a model with plain positions")


def build_on_meta(folder: ModelFolder, model_class: Any, config: Any, **options: Any) -> Any:
    """Return a model without memory for its parameters, whose names and shapes are those of the class.

    Raises:
        HarnessError: the class does not take the configuration.
    """
    try:
        with no_init_weights(), torch.device("meta"):
            return model_class(config, **options)
    except Exception as error:  # transformers and torch raise whatever their parts raise
        reason = summarize_error(error)
        raise folder.error("weights that fit config.json", reason, "correct config.json") from error


def check_stored_tensors(
    folder: ModelFolder, model: Any, tensors: Mapping[str, StoredTensor], head_advice: str | None
) -> None:
    """Refuse a tensor whose shape or type is not its parameter's, and two tensors for one parameter.

    Args:
        folder: of the checkpoint, for messages.
        model: of the class that is loaded; on the meta device.
        tensors: of the checkpoint.
        head_advice: what to do where a tensor outside the encoder has another shape.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}
    inner = {*_list_inner(model.base_model)}
    sources: dict[str, str] = {}
    for name, stored in tensors.items():
        if name.endswith("position_ids"):
            if not _POSITIONS.search(name):
                raise _refuse_unknown(folder, model, name)
            continue
        parameter = _find_parameter(name, shapes, model.base_model_prefix)
        if parameter is None:
            continue
        if stored.shape != shapes[parameter]:
            got = f"'{name}' of shape {_show(stored.shape)}, not {_show(shapes[parameter])}"
            outside = _strip(name, model.base_model_prefix) not in inner
            advice = (outside and head_advice) or _TOGETHER
            raise folder.error("weights that fit config.json", got, advice)
        if stored.dtype not in _FLOATS:
            got = f"'{name}' as {stored.dtype}"
            raise folder.error("floating-point weights", got, "save the model without quantisation")
        if parameter in sources:
            got = f"'{sources[parameter]}' and '{name}'"
            raise folder.error(f"one tensor for '{parameter}'", got, "save the model again")
        sources[parameter] = name


def _show(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _find_parameter(name: str, shapes: Collection[str], prefix: str) -> str | None:
    """Return the parameter that transformers fills from a tensor of this name."""
    for old, new in _OLD_NAMES:
        name = name.replace(old, new)
    candidates = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
    return next((one for one in candidates if one in shapes), None)


def check_heads(folder: ModelFolder, model: Any, tensors: Collection[str], unread: Collection[str]) -> None:
    """Refuse tensors outside the encoder that are not a whole head of a stock class of the family.

    Args:
        folder: of the checkpoint.
        model: as it was loaded.
        tensors: names of the checkpoint's tensors.
        unread: names of those that the model does not read.

    Raises:
        HarnessError: no stock class of the family has such a tensor, or a head lacks a tensor.
    """
    prefix = model.base_model_prefix
    inner = {*_list_inner(model.base_model)}
    read = {_strip(name, prefix) for name in model.state_dict()} - inner
    outside = {_strip(name, prefix) for name in unread}
    outside |= {bare for name in tensors if (bare := _strip(name, prefix)) in read}
    own = read - {_strip(name, prefix) for name in model.all_tied_weights_keys}
    if outside <= read and (not outside or own <= outside):
        return  # the whole head of the model itself, which needs no other class
    heads = _list_heads(model)
    for name in sorted(outside):
        holders = [required for required, tied in heads if name in required | tied]
        if not holders:
            raise _refuse_unknown(folder, model, name)
        lacking = min((required - outside for required in holders), key=len)
        if lacking:
            expected = f"every tensor of the head that '{name}' belongs to"
            raise folder.error(expected, f"none for '{min(lacking)}'", "fetch or save it again")


def _refuse_unknown(folder: ModelFolder, model: Any, name: str) -> HarnessError:
    expected = f"tensors of {type(model).__name__} alone"
    advice = "the model is another than config.json says: name its own config.json, or another model"
    return folder.error(expected, f"'{name}', which nothing reads", advice)


def _strip(name: str, prefix: str) -> str:
    for old, new in _OLD_NAMES:
        name = name.replace(old, new)
    return name.removeprefix(f"{prefix}.")


def _part(name: str) -> str:
    return name.partition(".")[0]


def _list_heads(model: Any) -> list[tuple[set[str], set[str]]]:
    """Return the tensors outside the encoder of each stock class of a model's family, and of its other heads.

    They are in two sets: those that a file must have, and those that are tied to another.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    config.num_hidden_layers, config.num_labels = 1, 2
    stem = re.sub(rf"({'|'.join(_HEADS)})$", "", type(model).__name__)
    row = FAMILIES.get(config.model_type)
    heads: list[tuple[set[str], set[str]]] = [({*head}, set()) for head in (row.other_heads if row else ())]
    for stock in (getattr(transformers, stem + ending, None) for ending in _HEADS):
        if stock is None:
            continue
        with no_init_weights(), torch.device("meta"):
            built = stock(config)
        prefix = built.base_model_prefix
        inner = {*_list_inner(built.base_model)}
        tied = {_strip(name, prefix) for name in (*built.all_tied_weights_keys, *_list_tied_biases(stock))}
        outside = {_strip(name, prefix) for name in built.state_dict()} - inner
        heads.append((outside - tied, outside & tied))
    return heads


def _list_tied_biases(stock: Any) -> list[str]:
    """Return the biases that tied models share; published files of untied models often lack them too."""
    return [name for name in stock._tied_weights_keys or () if name.endswith("bias")]


def _list_inner(encoder: Any) -> list[str]:
    """Return an encoder's own parameters, without its pooler."""
    return [name for name in encoder.state_dict() if _part(name) != _POOLER]


def check_missing(folder: ModelFolder, model: Any, missing: Collection[str], *, new_head: bool) -> None:
    """Refuse parameters that the checkpoint has no tensor for.

    Args:
        folder: of the checkpoint.
        model: as it was loaded.
        missing: parameters without a tensor.
        new_head: whether parts outside the encoder, the pooler among them, may be new as a whole.

    Raises:
        HarnessError: one line that names a parameter.
    """
    tied = {*getattr(model, "all_tied_weights_keys", {})}
    lacking = {*missing} - tied
    prefix = model.base_model_prefix
    inner = {*_list_inner(model.base_model)}
    parts = defaultdict(set)
    for name in {*model.state_dict()} - tied:
        if (bare := _strip(name, prefix)) not in inner:
            parts[_part(bare)].add(name)
    for name in sorted(lacking):
        whole = parts.get(_part(_strip(name, prefix)), {""})
        if not (new_head and whole <= lacking):
            expected = f"every weight of {type(model).__name__}"
            got = f"none for '{name}' ({len(lacking)} missing)"
            raise folder.error(expected, got, "fetch or train it again")
