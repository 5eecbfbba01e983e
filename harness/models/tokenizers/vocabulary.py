"""A tokenizer's vocabulary as data: which tokens must stay, and how a smaller vocabulary is written.

Works on the JSON of ``tokenizers`` (WordPiece, Unigram, BPE); reads and writes no file. Ids are renumbered in
ascending order, so that special tokens at the front keep their ids.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading.tokenizer_json import bare_backend

Ids = NDArray[np.int64]
Spec = dict[str, Any]

KINDS = ("WordPiece", "Unigram", "BPE")


def read(tokenizer: PreTrainedTokenizerBase) -> Spec:
    """Return the JSON of a tokenizer.

    Raises:
        HarnessError: its model is none of WordPiece, Unigram and BPE.
    """
    spec: Spec = json.loads(bare_backend(tokenizer).to_str())
    kind = spec["model"]["type"]
    if kind not in KINDS:
        raise HarnessError(
            f"trim: expected a tokenizer of {', '.join(KINDS)}; got {kind}; use another teacher"
        )
    return spec


def special_ids(tokenizer: PreTrainedTokenizerBase, spec: Spec) -> set[int]:
    """Return the ids of the special, the added and the unknown tokens."""
    model = spec["model"]
    ids = set(tokenizer.all_special_ids) | {token["id"] for token in spec["added_tokens"]}
    unknown = model["unk_id"] if model["type"] == "Unigram" else model["vocab"].get(model["unk_token"])
    return ids | {unknown} - {None}


def required(tokenizer: PreTrainedTokenizerBase, spec: Spec) -> Ids:
    """Return the ids that no choice may drop.

    These are the special tokens; for Unigram also the piece of the lowest score, which sets the cost of an
    unknown character; for BPE the single characters, from which all other tokens are merged.
    """
    model = spec["model"]
    ids = special_ids(tokenizer, spec)
    if model["type"] == "Unigram":
        ids.add(int(np.argmin([score for _, score in model["vocab"]])))
    if model["type"] == "BPE":
        ids |= {number for token, number in model["vocab"].items() if len(token) == 1}
    return np.array(sorted(ids), dtype=np.int64)


def character_ids(tokenizer: PreTrainedTokenizerBase, spec: Spec, characters: Iterable[str]) -> Ids:
    """Return the ids of the tokens of single characters, on their own, within a word or at its start."""
    characters = list(characters)
    if not characters:
        return np.empty(0, dtype=np.int64)
    prefix = spec["model"].get("continuing_subword_prefix") or "▁"
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    forms = (form for character in characters for form in (character, prefix + character))
    ids = {vocabulary[form] for form in forms if form in vocabulary}
    return np.array(sorted(ids), dtype=np.int64)


def parents(spec: Spec) -> dict[int, tuple[int, int]]:
    """Return for each BPE token the two tokens that it is merged from; empty for other models.

    Invariants: of several pairs that make one token, the pair with which merging the token's own letters
    ends, or the first pair where the letters do not merge to the token.
    """
    if spec["model"]["type"] != "BPE":
        return {}
    vocabulary, merges = spec["model"]["vocab"], _merges(spec)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    merged_from: dict[int, tuple[int, int]] = {}
    for pair in merges:
        token = "".join(pair)
        if vocabulary[token] not in merged_from:
            left, right = _last_merge(token, ranks) or pair
            merged_from[vocabulary[token]] = (vocabulary[left], vocabulary[right])
    return merged_from


def _last_merge(token: str, ranks: Mapping[tuple[str, str], int]) -> tuple[str, str] | None:
    """Return the pair that BPE merges last in a token's letters; None where several parts are left."""
    parts, last = list(token), None
    while len(parts) > 1:
        ranked = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not ranked:
            return None
        _, place = min(ranked)
        last = (parts[place], parts[place + 1])
        parts[place : place + 2] = ["".join(last)]
    return last


def renumber(kept: Ids, size: int) -> Ids:
    """Return the new id of each old id, or -1."""
    new = np.full(size, -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    return new


def rewrite(spec: Spec, kept: Ids, new: Ids) -> Spec:
    """Return the JSON of the tokenizer with only the kept ids, renumbered."""
    small = {key: value for key, value in spec.items() if key != "model"}
    small = copy.deepcopy(small) | {"model": _MODELS[spec["model"]["type"]](spec, kept, new)}
    small["added_tokens"] = [token | {"id": int(new[token["id"]])} for token in small["added_tokens"]]
    _renumber_processor(small["post_processor"], new)
    return small


def replace_backend(tokenizer: PreTrainedTokenizerBase, spec: Spec) -> PreTrainedTokenizerBase:
    """Return a copy of the tokenizer with the backend of this JSON; settings and class stay."""
    small = copy.copy(tokenizer)
    heavy = ("_tokenizer", "_vocab")
    small.__dict__ = {key: copy.deepcopy(value) for key, value in vars(tokenizer).items() if key not in heavy}
    small._tokenizer = Tokenizer.from_str(json.dumps(spec, ensure_ascii=False))
    return small


def _merges(spec: Spec) -> list[tuple[str, str]]:
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in spec["model"]["merges"])
    return [(left, right) for left, right in pairs]


def _wordpiece(spec: Spec, kept: Ids, new: Ids) -> Spec:  # noqa: ARG001 - one signature for all kinds
    numbers = new.tolist()
    ordered = sorted(
        (numbers[old], token) for token, old in spec["model"]["vocab"].items() if numbers[old] >= 0
    )
    return {**spec["model"], "vocab": {token: number for number, token in ordered}}


def _unigram(spec: Spec, kept: Ids, new: Ids) -> Spec:
    model = spec["model"]
    pieces = model["vocab"]
    vocabulary = [pieces[old] for old in kept.tolist() if old < len(pieces)]
    unknown = model["unk_id"]
    return {**model, "vocab": vocabulary, "unk_id": None if unknown is None else int(new[unknown])}


def _bpe(spec: Spec, kept: Ids, new: Ids) -> Spec:
    model = _wordpiece(spec, kept, new)
    known = model["vocab"]
    merges = [
        [left, right]
        for left, right in _merges(spec)
        if left in known and right in known and left + right in known
    ]
    return {**model, "merges": merges}


_MODELS = {"WordPiece": _wordpiece, "Unigram": _unigram, "BPE": _bpe}


def _renumber_processor(processor: Spec | None, new: Ids) -> None:
    """Renumber, in place, the ids that a post-processor adds."""
    if processor is None:
        return
    for inner in processor.get("processors", []):
        _renumber_processor(inner, new)
    for role in ("cls", "sep"):
        if role in processor:
            token, old = processor[role]
            processor[role] = [token, int(new[old])]
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = new[special["ids"]].tolist()
