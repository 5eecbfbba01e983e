"""A tokenizer's vocabulary as data: which tokens must stay, and how a smaller vocabulary is written.

Works on the JSON of ``tokenizers`` (WordPiece, Unigram, BPE); reads and writes no file. Ids are renumbered in
ascending order, so that special tokens at the front keep their ids.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading.tokenizer_json import read_spec

Ids = NDArray[np.int64]
Spec = dict[str, Any]

KINDS = ("WordPiece", "Unigram", "BPE")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_BYTE_OR_LETTER = re.compile(r"<0x[0-9A-F]{2}>|.", re.DOTALL)


def read(tokenizer: PreTrainedTokenizerBase) -> Spec:
    """Return the JSON of a tokenizer.

    Raises:
        HarnessError: its model is none of WordPiece, Unigram and BPE.
    """
    spec: Spec = read_spec(tokenizer)
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

    These are the special tokens; the token of every byte, where characters without a token become bytes; the
    characters that normaliser and pre-tokeniser put into any text; for Unigram the piece of the lowest
    score, which sets the cost of an unknown character; for BPE without such bytes the single characters,
    from which all other tokens are merged.
    """
    model, tokens = spec["model"], number_tokens(spec)
    ids = special_ids(tokenizer, spec) | byte_ids(spec)
    for character in created_characters(spec):
        ids |= {tokens[form] for form in character_forms(spec, character) if form in tokens}
    if model["type"] == "Unigram":
        ids.add(int(np.argmin([score for _, score in model["vocab"]])))
    if model["type"] == "BPE" and not falls_back_to_bytes(spec):
        ids |= {number for token, number in tokens.items() if len(strip_marks(spec, token)) == 1}
    return np.array(sorted(ids), dtype=np.int64)


def number_tokens(spec: Spec) -> dict[str, int]:
    """Return the ids of the model's own tokens, without those that were added to it."""
    pieces = spec["model"]["vocab"]
    return pieces if isinstance(pieces, dict) else {piece: place for place, (piece, _) in enumerate(pieces)}


def byte_ids(spec: Spec) -> set[int]:
    """Return the ids of the tokens of bytes that characters without a token become."""
    tokens = number_tokens(spec) if spec["model"].get("byte_fallback") else {}
    return {tokens[name] for name in _BYTES if name in tokens}


def falls_back_to_bytes(spec: Spec) -> bool:
    """Return whether no character is ever unknown, since every byte has a token."""
    return len(byte_ids(spec)) == len(_BYTES)


def character_ids(tokenizer: PreTrainedTokenizerBase, spec: Spec, characters: Iterable[str]) -> Ids:
    """Return the ids of the tokens of single characters, on their own, within a word, at its start or end."""
    characters = list(characters)
    if not characters:
        return np.empty(0, dtype=np.int64)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    spaced = () if read_marks(spec)[0] else ("▁",)
    forms = (
        form
        for character in characters
        for form in (*character_forms(spec, character), *(space + character for space in spaced))
    )
    ids = {vocabulary[form] for form in forms if form in vocabulary}
    return np.array(sorted(ids), dtype=np.int64)


def character_forms(spec: Spec, character: str) -> tuple[str, ...]:
    """Return the tokens that a model without bytes needs for a character, wherever it is in a word."""
    prefix, suffix = read_marks(spec)
    starts, ends = dict.fromkeys(("", prefix)), dict.fromkeys(("", suffix))
    return tuple(start + character + end for start in starts for end in ends)


def strip_marks(spec: Spec, token: str) -> str:
    """Return a token without the marks of a place within a word, as ``##`` of WordPiece."""
    prefix, suffix = read_marks(spec)
    bare = token.removeprefix(prefix).removesuffix(suffix)
    return bare or token


def read_marks(spec: Spec) -> tuple[str, str]:
    """Return the marks of a token within a word, and of a token at its end; empty where there is none."""
    model = spec["model"]
    return model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""


def created_characters(spec: Spec) -> set[str]:
    """Return the characters that normaliser and pre-tokeniser may put into a text that has none of them."""
    created: set[str] = set()
    steps = [spec.get("normalizer"), spec.get("pre_tokenizer")]
    while steps:
        step = steps.pop() or {}
        steps += step.get("normalizers", step.get("pretokenizers", []))
        if step.get("type") == "ByteLevel":
            created.update(pre_tokenizers.ByteLevel.alphabet())
        created.update(*(str(step.get(key, "")) for key in ("content", "prepend", "replacement")))
    return created


def parents(spec: Spec) -> dict[int, tuple[int, int]]:
    """Return for each BPE token the two tokens that it is merged from; empty for other models.

    Invariants: of several pairs that make one token, the pair with which merging the token's own letters
    ends, or the first pair where the letters do not merge to the token.
    """
    if spec["model"]["type"] != "BPE":
        return {}
    vocabulary, merges = spec["model"]["vocab"], _merges(spec)
    prefix, ranks = read_marks(spec)[0], {pair: rank for rank, pair in enumerate(merges)}
    merged_from: dict[int, tuple[int, int]] = {}
    for pair in merges:
        token = _join(prefix, *pair)
        if vocabulary[token] not in merged_from:
            left, right = _last_merge(spec, token, ranks) or pair
            merged_from[vocabulary[token]] = (vocabulary[left], vocabulary[right])
    return merged_from


def _join(prefix: str, left: str, right: str) -> str:
    """Return the token that BPE merges two tokens into: the mark of the second goes."""
    return left + right[len(prefix) :]


def _split_letters(spec: Spec, token: str) -> list[str]:
    """Return the tokens of single characters, or of bytes, that BPE begins a token with."""
    prefix, suffix = read_marks(spec)
    first = prefix if prefix and token.startswith(prefix) and token != prefix else ""
    last = suffix if suffix and token.endswith(suffix) and token != suffix else ""
    bare = token[len(first) : len(token) - len(last)]
    letters = _BYTE_OR_LETTER.findall(bare) if spec["model"].get("byte_fallback") else list(bare)
    marked = [(first if place == 0 else prefix) + letter for place, letter in enumerate(letters)]
    return [*marked[:-1], marked[-1] + last] if marked else [token]


def _last_merge(spec: Spec, token: str, ranks: Mapping[tuple[str, str], int]) -> tuple[str, str] | None:
    """Return the pair that BPE merges last in a token's letters; None where several parts are left."""
    parts, last = _merge_letters(spec, token, ranks)
    return last if len(parts) == 1 else None


def _merge_letters(
    spec: Spec, token: str, ranks: Mapping[tuple[str, str], int]
) -> tuple[list[str], tuple[str, str] | None]:
    """Return the parts that BPE merges a token's letters into, and the pair that it merges last."""
    prefix, parts, last = read_marks(spec)[0], _split_letters(spec, token), None
    while len(parts) > 1:
        ranked = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not ranked:
            break
        _, place = min(ranked)
        last = (parts[place], parts[place + 1])
        parts[place : place + 2] = [_join(prefix, *last)]
    return parts, last


def split_tokens(spec: Spec, tokens: Iterable[str]) -> list[list[int]]:
    """Return, for tokens of another vocabulary of the same type, the ids of the pieces of each.

    Invariants: a token of the vocabulary is its own piece. A character without a token where it is in a word
    has its token at another place, or those of its bytes, or none.
    """
    own = number_tokens(spec)
    split = _SPLITTERS[spec["model"]["type"]](spec)
    return [[own[token]] if token in own else split(token) for token in tokens]


def _split_by_unigram(spec: Spec) -> Callable[[str], list[int]]:
    model = Tokenizer.from_str(json.dumps(spec, ensure_ascii=False)).model
    unknown = spec["model"]["unk_id"]
    return lambda token: [piece.id for piece in model.tokenize(token) if piece.id != unknown]


def _split_by_wordpiece(spec: Spec) -> Callable[[str], list[int]]:
    """Take the longest piece first; a token within a word is split as the rest of a word is."""
    own, prefix = number_tokens(spec), read_marks(spec)[0]

    def split(token: str) -> list[int]:
        pieces, rest = [], token.removeprefix(prefix)
        mark = prefix if len(rest) < len(token) else ""
        while rest:
            end = next((end for end in range(len(rest), 0, -1) if mark + rest[:end] in own), 1)
            pieces += _find_forms(spec, own, mark + rest[:end])
            mark, rest = prefix, rest[end:]
        return pieces

    return split


def _split_by_merges(spec: Spec) -> Callable[[str], list[int]]:
    own, ranks = number_tokens(spec), {pair: rank for rank, pair in enumerate(_merges(spec))}

    def split(token: str) -> list[int]:
        parts, _ = _merge_letters(spec, token, ranks)
        return [piece for part in parts for piece in _find_forms(spec, own, part)]

    return split


def _find_forms(spec: Spec, own: Mapping[str, int], part: str) -> list[int]:
    """Return the id of a token, or else of its character elsewhere in a word, or else those of its bytes."""
    character = strip_marks(spec, part)
    form = next((one for one in (part, *character_forms(spec, character)) if one in own), None)
    if form is not None:
        return [own[form]]
    return [own[name] for name in (_BYTES[byte] for byte in character.encode()) if name in own]


_SPLITTERS: Mapping[str, Callable[[Spec], Callable[[str], list[int]]]] = {
    "Unigram": _split_by_unigram,
    "WordPiece": _split_by_wordpiece,
    "BPE": _split_by_merges,
}


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


def add_tokens(
    spec: Spec, tokens: Sequence[str], scores: Sequence[float], merges: Sequence[Sequence[str]]
) -> None:
    """Give a tokenizer's model, in place, tokens after its own; scores are Unigram's, merges BPE's."""
    model = spec["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [*model["vocab"], *map(list, zip(tokens, scores, strict=True))]
        return
    start = len(model["vocab"])
    model["vocab"] = {**model["vocab"], **{token: start + place for place, token in enumerate(tokens)}}
    if model["type"] == "BPE":
        model["merges"] = [*model["merges"], *map(list, merges)]


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
    known, prefix = model["vocab"], read_marks(spec)[0]
    merges = [
        [left, right]
        for left, right in _merges(spec)
        if left in known and right in known and _join(prefix, left, right) in known
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
