"""The ``config.json`` of a model folder as a transformers configuration, with nothing in it overlooked.

A key is honoured by the family's class, is known to change no result, or is refused by its name.
"""

from __future__ import annotations

import copy
import difflib
import functools
import importlib.util
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.activations import ACT2FN

from harness.errors import HarnessError
from harness.families import BERT_KEYS, FAMILIES, max_input_tokens
from harness.models.loading.folder import ModelFolder, summarize_error

_SWITCHES = frozenset(
    {
        "_attn_implementation",
        "attn_implementation",
        "_attn_implementation_autoset",
        "chunk_size_feed_forward",
        "dtype",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "torch_dtype",
        "torchscript",
        "use_bfloat16",
        "use_return_dict",
    }
)
"""Keys that say what a call returns, or in what order or precision it computes: never read."""
HEAD_KEYS = frozenset({"id2label", "label2id", "num_labels", "_num_labels", "problem_type"})
"""Keys that describe the head of one task; an export reads them, everything else draws its own head."""
_REFUSED = {
    "is_decoder": "an encoder, whose tokens attend to both sides",
    "add_cross_attention": "an encoder without cross attention",
    "is_encoder_decoder": "an encoder alone",
    "quantization_config": "weights that are not quantised",
    "pruned_heads": "layers with all their heads",
    "per_layer_config": "layers of one shape",
}
"""Keys that are refused in every family where they are on, and what is expected in their place."""
_COMPUTING = re.compile(
    r"position|relative|rotary|rope|alibi|attention|attn|activation|(^|_)act($|_)|norm|cross|decoder|causal"
    r"|expert|moe|adapter|lora|prefix|conv|quant|prun|residual|sparse|window|gated|glu|bias|scal(e|ing)"
    r"|kernel|embedding_(size|dim)|layer_types"
)
"""Names of settings that change what is computed, where the family's class does not know them."""
_INERT = re.compile(
    r"^pooler_|dropout|cache|checkpointing|flash|sdpa|memory_efficient|xformers|compile|_token_ids?$"
)
_READ_KEY = re.compile(r"""(?:kwargs\.(?:get|pop)\(|config, )["'](\w+)["']|config\.(\w+)""")
_OFF = frozenset({"", "absolute", "none", "default", "full", "original_full"})
_SYNONYMS = ({"hidden_act", "hidden_activation", "activation"}, {"layer_norm_eps", "norm_eps"})
_BERT_EPS = 1e-12
_SIZE = re.compile(
    r"^(vocab_size|hidden_size|intermediate_size|embedding_size|dim|hidden_dim)$|^n(um)?_.*(layers|heads)$"
)
_LARGEST_SIZE = 2**31
_LEAST_TOKENS = 3
_ALIKE = 0.9
_SIZES_ALIKE = 0.8


def load_config(folder: ModelFolder, head: Mapping[str, Any] | None = None) -> PretrainedConfig:
    """Return the transformers configuration of a folder.

    Args:
        folder: a folder whose ``config.json`` is an object.
        head: values of `HEAD_KEYS`; without them the configuration describes no head.

    Raises:
        HarnessError: transformers does not know the model type, or a key is missing, has a value that does
            not fit, or changes what is computed and is not supported; one line that names the key.
    """
    config_class = _find_class(folder)
    written = {key: value for key, value in folder.config.items() if key not in _SWITCHES | HEAD_KEYS}
    _check_sizes_are_named(folder)
    _check_refused(folder)
    _check_unknown(folder, config_class, written)
    settings = copy.deepcopy({key: written[key] for key in written if _may_set(config_class, key)})
    try:
        config: PretrainedConfig = config_class.from_dict(settings | dict(head or {}))
    except Exception as error:  # transformers raises whatever its parts raise
        reason = summarize_error(error)
        raise folder.error("a config.json that transformers reads", reason, "correct config.json") from error
    _check_values(folder, config)
    return config


def _find_class(folder: ModelFolder) -> type[PretrainedConfig]:
    if folder.model_type not in CONFIG_MAPPING:
        got = f"'{folder.model_type}'"
        raise folder.error("a model_type that transformers knows", got, "correct config.json")
    known: type[PretrainedConfig] = CONFIG_MAPPING[folder.model_type]
    return known


def _refuse_key(folder: ModelFolder, key: str, expected: str, value: Any, advice: str) -> HarnessError:
    return folder.error(f"{expected} in config.json", f"'{key}': {_show(value)}", advice)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_sizes_are_named(folder: ModelFolder) -> None:
    """Refuse a configuration that leaves a size to the class, whose default is another model's."""
    row = FAMILIES.get(folder.model_type)
    config_class = _find_class(folder)
    aliases, known = config_class.attribute_map, {field.name for field in fields(config_class)}
    for size, key in row.keys.items() if row else ():
        if (
            size not in BERT_KEYS
            or key in folder.config
            or any(aliases.get(name) == key for name in folder.config)
        ):
            continue
        strange = [name for name in folder.config if name not in known]
        near = difflib.get_close_matches(key, strange, n=1, cutoff=_SIZES_ALIKE)
        got = f"none, but '{near[0]}'" if near else "none"
        raise folder.error(f"'{key}' in config.json", got, f"add {key}")


def _check_refused(folder: ModelFolder) -> None:
    for key, expected in _REFUSED.items():
        if not _is_off(folder.config.get(key)):
            advice = "choose an encoder that was saved whole, without it"
            raise _refuse_key(folder, key, expected, folder.config[key], advice)


def _check_unknown(
    folder: ModelFolder, config_class: type[PretrainedConfig], written: Mapping[str, Any]
) -> None:
    """Refuse keys that the class does not read, where they look as if they changed what is computed."""
    names = {field.name for field in fields(config_class)}
    known = names | {*config_class.attribute_map} | _list_read_keys(config_class.__module__)
    own = {name for name in names - _list_base_fields() if not _INERT.search(name)}
    row = FAMILIES.get(folder.model_type)
    for key, value in written.items():
        if key in known or (row and key in row.inert_keys) or _INERT.search(key) or key in _REFUSED:
            continue
        near = difflib.get_close_matches(key, own - {*written}, n=1, cutoff=_ALIKE)
        if near:
            raise _refuse_key(folder, key, f"'{near[0]}'", value, f"rename it to {near[0]}, or remove it")
        if _COMPUTING.search(key) and not _is_off(value) and not _agrees(key, value, written, config_class):
            expected = f"settings that {config_class.__name__} computes with"
            raise _refuse_key(folder, key, expected, value, "choose a model without it")


@functools.cache
def _list_read_keys(module: str) -> frozenset[str]:
    """Return the keys that a family's code reads, also those that are no field of its configuration."""
    modeling = module.replace("configuration_", "modeling_")
    names = [name for name in (module, modeling) if importlib.util.find_spec(name)]
    sources = "\n".join(inspect.getsource(importlib.import_module(name)) for name in names)
    return frozenset(name for pair in _READ_KEY.findall(sources) for name in pair)


def _list_base_fields() -> set[str]:
    return {field.name for field in fields(PretrainedConfig)}


def _is_off(value: Any) -> bool:
    """Return whether a setting is absent, false, zero, empty, or what every encoder does."""
    if isinstance(value, Mapping):
        return all(_is_off(one) for one in value.values())
    if isinstance(value, str):
        return value in _OFF
    return not value


def _agrees(key: str, value: Any, written: Mapping[str, Any], config_class: type[PretrainedConfig]) -> bool:
    """Return whether a key is another name of a setting of the class, and has the setting's value."""
    for names in _SYNONYMS:
        if key in names:
            defaults = {field.name: field.default for field in fields(config_class)}
            effective = [written.get(name, defaults[name]) for name in sorted(names) if name in defaults]
            return value in (effective or ([_BERT_EPS] if key.endswith("eps") else []))
    return False


def _may_set(config_class: type[PretrainedConfig], key: str) -> bool:
    """Return whether a key is a setting, and not a method or another part of the class."""
    own = {field.name for field in fields(config_class)} | {*config_class.attribute_map}
    return key in own or not hasattr(config_class, key)


def _check_values(folder: ModelFolder, config: PretrainedConfig) -> None:
    for field in fields(config):
        key, value = field.name, getattr(config, field.name)
        expected = next((text for fits, text in _list_rules(key) if not fits(value)), None)
        if expected is not None:
            raise _refuse_key(folder, key, expected, value, "correct config.json")
    for alias, key in config.attribute_map.items():
        if {alias, key} <= {*folder.config} and folder.config[alias] != folder.config[key]:
            raise _refuse_key(
                folder, alias, f"the value of '{key}'", folder.config[alias], f"keep {key} alone"
            )
    rows = getattr(config, "vocab_size", None)
    padding = getattr(config, "pad_token_id", None)
    if isinstance(padding, int) and isinstance(rows, int) and not 0 <= padding < rows:
        expected = f"a token of the {rows:,}"
        raise _refuse_key(folder, "pad_token_id", expected, padding, "correct config.json")
    _check_positions(folder, config)


def _list_rules(key: str) -> Iterator[tuple[Callable[[Any], bool], str]]:
    """Yield what a value must fulfil, and how a message says so."""
    if _SIZE.search(key):
        yield (lambda value: value is None or _is_count(value), "a positive number")
    if key == "type_vocab_size":
        yield (lambda value: type(value) is int and 0 <= value < _LARGEST_SIZE, "a number of token types")
    if key.endswith("_eps"):
        yield (lambda value: _is_number(value) and 0 <= value < 1, "a small number")
    if key.startswith("initializer_"):
        yield (lambda value: _is_number(value) and value >= 0, "a number, not negative")
    if "dropout" in key:
        yield (lambda value: value is None or (_is_number(value) and 0 <= value <= 1), "a share from 0 to 1")
    if key.endswith(("_act", "activation")):
        known = f"an activation of {', '.join(sorted(ACT2FN))}"
        yield (lambda value: value is None or (isinstance(value, str) and value in ACT2FN), known)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < _LARGEST_SIZE


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _check_positions(folder: ModelFolder, config: PretrainedConfig) -> None:
    """Refuse a model without room for a token between the first and the last."""
    row = FAMILIES.get(folder.model_type)
    if row is None:
        return
    if row.positions_follow_padding and config.pad_token_id is None:
        raise _refuse_key(folder, "pad_token_id", "a token's number", None, "add it: positions follow it")
    positions = config.max_position_embeddings
    if not _is_count(positions) or (max_input_tokens(config.to_dict()) or 0) < _LEAST_TOKENS:
        expected = f"positions for {_LEAST_TOKENS} tokens at least"
        raise _refuse_key(folder, "max_position_embeddings", expected, positions, "correct config.json")
