"""The steps of a tokenizer that JavaScript's libraries compute otherwise than ``tokenizers``, in words.

Known of @huggingface/tokenizers 0.2.0 and transformers.js 4.3.1; the page of ``harness demo`` replaces these
steps (``web/page/tokenize.js``), and ``tests/web/test_characters.py`` compares it with Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

_DIFFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "Precompiled": "U+0085, U+061C and U+200D, and letters with more than one mark",
        "BertNormalizer": "control characters of newer Unicode (U+0890, U+0891, U+08E2)",
        "NFKC": "71 compatibility characters of newer Unicode (U+32FF, U+A7F2 to U+A7F4, U+10781 to U+107BA)",
        "NFKD": "71 compatibility characters of newer Unicode (U+32FF, U+A7F2 to U+A7F4, U+10781 to U+107BA)",
        "StripAccents": "marks of newer Unicode",
        "Lowercase": "a capital sigma at the end of a word",
        "BertPreTokenizer": "27 punctuation marks of newer Unicode (U+061D, U+2E43 to U+2E5D)",
        "WhitespaceSplit": "U+0085 and U+FEFF",
        "Whitespace": "every letter outside ASCII",
        "Digits": "every digit outside ASCII",
        "Punctuation": "two punctuation marks in a row",
    }
)


def list_javascript_differences(spec: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each step of a ``tokenizer.json`` that JavaScript computes otherwise."""
    model = spec["model"]
    notes = [
        f"JavaScript's libraries read {_DIFFERENCES[step['type']]} otherwise (the step {step['type']})"
        for step in _list_steps(spec)
        if step["type"] in _DIFFERENCES
    ]
    if any(_lowers_for_bert(step) for step in _list_steps(spec)):
        notes.append(
            "JavaScript's libraries read a capital sigma at the end of a word, and 130 newer marks, "
            "otherwise (the step BertNormalizer in lower case)"
        )
    if model["type"] == "BPE" and model.get("continuing_subword_prefix"):
        notes.append(
            "JavaScript's libraries cannot split words into sub-words with the prefix "
            f"'{model['continuing_subword_prefix']}'; the page refuses this model"
        )
    return notes


def _lowers_for_bert(step: Mapping[str, Any]) -> bool:
    return step["type"] == "BertNormalizer" and bool(step.get("lowercase") or step.get("strip_accents"))


def _list_steps(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    steps = [spec.get("normalizer"), spec.get("pre_tokenizer")]
    while steps:
        step = steps.pop(0)
        if step is not None:
            steps += step.get("normalizers", step.get("pretokenizers", []))
            yield step
