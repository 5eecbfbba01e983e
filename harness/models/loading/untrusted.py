"""Refuse what a model folder of a stranger may hold: ways out of the folder, code to fetch, absurd sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.families import BERT_KEYS, FAMILIES, LARGEST_SIZES
from harness.paths import stays_below

_ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
_CODE_KEYS = ("auto_map", "custom_pipelines", "kernel_config", "use_kernels", "_experts_implementation")
"""Keys of ``config.json`` that make transformers run or fetch code."""
_DEEPEST = 20


class Refusal(NamedTuple):
    """Why a folder is not used: what was expected, what came, what to do."""

    expected: str
    got: str
    advice: str


def list_refusals(
    folder: Path, config: Mapping[str, Any], tokenizer_settings: Mapping[str, Any]
) -> Iterator[Refusal]:
    """Yield the reasons not to give a folder to transformers, before anything but two JSON files is read."""
    for path in sorted(folder.iterdir()):
        if not stays_below(path, folder):
            yield Refusal("files of the folder", f"'{path.name}', a link out of it", "copy the file there")
    yield from _list_code(config, tokenizer_settings)
    yield from _list_outside(folder, tokenizer_settings)
    yield from _list_sizes(config)


def _list_code(config: Mapping[str, Any], tokenizer_settings: Mapping[str, Any]) -> Iterator[Refusal]:
    for key in _CODE_KEYS:
        if key in config or key in tokenizer_settings:
            got = f"custom code ({key}), which is never run"
            yield Refusal("a stock model", got, "convert it to a stock class")
    for key in _ATTENTION_KEYS:
        value = config.get(key)
        if "/" in str(value):  # the name of a repository
            got = f"{key} {_shorten(value)}, which would be fetched and run"
            yield Refusal("attention of transformers itself", got, "remove the key from config.json")


def _list_outside(folder: Path, settings: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield the files outside of the folder that the tokenizer's settings name and that exist."""
    for key, value in settings.items():
        if not (key.endswith("_file") and isinstance(value, str)):
            continue
        try:
            exists = (folder / value).exists()
        except (OSError, ValueError):
            exists = False
        if exists and not stays_below(folder / value, folder):
            got = f"{key} {_shorten(value)}, outside of it"
            yield Refusal("files of the folder", got, f"remove '{key}' from tokenizer_config.json")


def _list_sizes(config: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield the sizes of a known family that no model has; others are transformers' to refuse."""
    if _measure_depth(config) > _DEEPEST:
        yield Refusal(f"a config.json of at most {_DEEPEST} levels", "a deeper one", "save the model again")
    if any(isinstance(one, int) and abs(one) >= 1 << 63 for one in _list_values(config)):
        yield Refusal("numbers of 64 bits in config.json", "a larger number", "save the model again")
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return
    for name, key in (*family.keys.items(), *BERT_KEYS.items(), ("num_labels", "num_labels")):
        value = config.get(key)
        if isinstance(value, int) and value > LARGEST_SIZES[name]:
            expected = f"{key} of at most {LARGEST_SIZES[name]:,} in config.json"
            yield Refusal(expected, _shorten(value), "save the model again")


def _shorten(value: object) -> str:
    """Return a value as a message quotes it; a number of many digits by their number."""
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a larger number"
    return f"{value!r:.60}"


def _list_values(value: object) -> Iterator[object]:
    """Yield the values of lists and objects that are no lists and objects themselves."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, Mapping):
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
        else:
            yield inner


def _measure_depth(value: object) -> int:
    """Return how many levels of lists and objects a value has."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        inner, level = waiting.pop()
        if isinstance(inner, Mapping):
            inner = list(inner.values())
        if isinstance(inner, list) and level <= _DEEPEST:
            waiting += [(one, level + 1) for one in inner]
        deepest = max(deepest, level)
    return deepest
