"""Read and write a transformers tokenizer whose Rust backend is the folder's ``tokenizer.json``, as it is.

transformers 5 rebuilds the backend of a known class from the vocabulary and the defaults of the class: the
file's own normaliser, pre-tokeniser, post-processor and options of the model are lost, and ids change.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
PLAIN_CLASS = "PreTrainedTokenizerFast"
"""The class of transformers 4 and 5 that takes ``tokenizer.json`` as it is."""

_SOURCE = "tokenizer_json_bytes"
_NOTES = "reading_notes"
_SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "extra_special_tokens",
    "split_special_tokens",
)
LARGEST_ID = 10_000_000
"""The largest token id that is read; the largest vocabularies of encoders have half a million tokens."""
_CAPITALS_FRACTION = 0.01
"""A vocabulary with capital letters in this share of its tokens is one of text with capital letters."""


def read_tokenizer(folder: Path, config: PretrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a folder; `list_reading_notes` returns what its reader should know.

    Invariants: with ``tokenizer.json``, the ids are those of ``Tokenizer.from_file``; a special token that
    the settings of the folder name and the file lacks is added after the others. Without it, the tokenizer
    is as its class makes it from the vocabulary files.

    Args:
        folder: of a model.
        config: of the model; None lets transformers read ``config.json``.

    Raises:
        Exception: whatever transformers and tokenizers raise for files that cannot be read.
    """
    file = folder / TOKENIZER_JSON
    if not file.is_file():
        made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True
        )
        if made.is_fast:
            setattr(made, _NOTES, _describe_unused_capitals(made))
        return made
    backend, source = Tokenizer.from_file(str(file)), file.read_bytes()
    _check_ids(backend)
    rebuilt = _rebuild_by_class(folder, config)
    notes = _describe_kept_capitals(rebuilt, backend)
    if _is_same(rebuilt.backend_tokenizer, backend):
        tokenizer = rebuilt
        tokenizer._tokenizer = backend
    else:
        tokenizer = _wrap_backend(rebuilt, backend, _read_named_tokens(folder))
    setattr(tokenizer, _SOURCE, source)
    setattr(tokenizer, _NOTES, notes or _describe_unused_capitals(tokenizer))
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer's files, so that the ``Auto`` classes and ``Tokenizer.from_file`` give its ids.

    Invariants: ``tokenizer.json`` equals the file that the tokenizer was read from, byte for byte, unless
    the backend was changed since.
    """
    backend = bare_backend(tokenizer)
    tokenizer.save_pretrained(folder)
    source: bytes | None = getattr(tokenizer, _SOURCE, None)
    if source is not None and _is_same(Tokenizer.from_buffer(source), backend):
        (folder / TOKENIZER_JSON).write_bytes(source)
    settings_file = folder / TOKENIZER_CONFIG
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == PreTrainedTokenizerFast.__name__:
        settings["tokenizer_class"] = PLAIN_CLASS
        text = json.dumps(settings, ensure_ascii=False, indent=2, sort_keys=True)
        settings_file.write_text(text + "\n", encoding="utf-8")


def bare_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return the Rust backend of a tokenizer with truncation and padding switched off.

    A call with ``truncation`` or ``padding`` leaves both set in the backend: they would cut the text that is
    counted, and be saved in ``tokenizer.json``. transformers sets them again on every call.
    """
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def read_spec(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the JSON of a tokenizer's backend."""
    spec: dict[str, Any] = json.loads(bare_backend(tokenizer).to_str())
    return spec


def list_reading_notes(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return a line for each thing in a tokenizer's files that its user may not expect."""
    notes: tuple[str, ...] = getattr(tokenizer, _NOTES, ())
    return notes


def _check_ids(backend: Tokenizer) -> None:
    """Refuse an id so large that the library, which walks through all numbers below it, takes all memory."""
    vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    token = max(vocabulary, key=lambda one: vocabulary[one], default=None)
    if token is not None and vocabulary[token] > LARGEST_ID:
        raise ValueError(f"token '{token}' has the id {vocabulary[token]}, above {LARGEST_ID}")


def _rebuild_by_class(folder: Path, config: PretrainedConfig | None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the class that the folder names; the plain class where that one fails."""
    try:
        rebuilt: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True
        )
    except Exception:  # a class that cannot take this file's vocabulary raises whatever it meets
        rebuilt = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    if rebuilt.is_fast:
        return rebuilt
    plain: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return plain


def _wrap_backend(
    rebuilt: PreTrainedTokenizerBase, backend: Tokenizer, named: set[str]
) -> PreTrainedTokenizerBase:
    """Return a tokenizer of the plain class with this backend, and the settings of the rebuilt tokenizer."""
    roles = {
        role: token
        for role, token in rebuilt.special_tokens_map.items()
        if isinstance(token, str) and (backend.token_to_id(token) is not None or token in named)
    }
    settings = {name: getattr(rebuilt, name) for name in _SETTINGS}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=backend, **settings, **roles)
    if wrapped.backend_tokenizer.get_vocab_size() == backend.get_vocab_size():
        wrapped._tokenizer = backend
    tokenizer: PreTrainedTokenizerBase = wrapped
    return tokenizer


def _read_named_tokens(folder: Path) -> set[str]:
    """Return the special tokens that the folder's settings name."""
    named: set[str] = set()
    for file in (folder / TOKENIZER_CONFIG, folder / "special_tokens_map.json"):
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for role, token in settings.items():
            if role.endswith("_token"):
                named.add(str(token.get("content") if isinstance(token, dict) else token))
    return named


def _is_same(one: Tokenizer, other: Tokenizer) -> bool:
    """Return whether two backends split every text alike, up to the rounding of a score in JSON."""
    texts = one.to_str(), other.to_str()
    if texts[0] == texts[1]:
        return True
    first, second = map(json.loads, texts)
    for spec in (first, second):
        spec.update(truncation=None, padding=None)
    if first == second:
        return True
    models = (first.pop("model"), second.pop("model"))
    if first != second or any(model["type"] != "Unigram" for model in models):
        return False
    pieces = [model.pop("vocab") for model in models]
    return models[0] == models[1] and (
        len(pieces[0]) == len(pieces[1])
        and all(
            token == other_token and math.isclose(score, other_score, rel_tol=1e-12)
            for (token, score), (other_token, other_score) in zip(*pieces, strict=True)
        )
    )


def _describe_kept_capitals(rebuilt: PreTrainedTokenizerBase, backend: Tokenizer) -> tuple[str, ...]:
    if not _lowers(rebuilt.backend_tokenizer) or _lowers(backend):
        return ()
    return (
        f"{TOKENIZER_JSON} keeps capital letters, {type(rebuilt).__name__} with these settings would not; "
        f"{TOKENIZER_JSON} is used",
    )


def _describe_unused_capitals(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    backend = tokenizer.backend_tokenizer
    if not _lowers(backend):
        return ()
    special = set(tokenizer.all_special_tokens)
    tokens = [token for token in backend.get_vocab() if token not in special]
    capital = sum(token != token.lower() for token in tokens)
    if capital < _CAPITALS_FRACTION * len(tokens):
        return ()
    return (
        f"{capital:,} of {len(tokens):,} tokens have capital letters and are never used, as "
        f"{type(tokenizer).__name__} makes text lower-case; if the model knows capital letters, set "
        f"do_lower_case to false in {TOKENIZER_CONFIG}",
    )


def _lowers(backend: Any) -> bool:
    return backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"
