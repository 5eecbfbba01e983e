"""Encode a task's examples as rows of token ids with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.batches import IGNORED, collate
from harness.data.examples import Example, TaskData, TextExample, TokenExample
from harness.errors import HarnessError

Row = dict[str, Any]
TEACHER_LOGITS = "teacher_logits"
_TYPES = "token_type_ids"


@dataclass(frozen=True)
class EncodedExamples:
    """Examples as rows for a model.

    Attributes:
        rows: each with ``input_ids``, ``labels`` and ``length``; a token task has as many labels as ids, −100
            except on the first sub-word of each word; a sequence task has one label.
            A pair's row may have ``token_type_ids``, a distilled row ``teacher_logits`` (labels × classes).
        owners: index of the example of each row; a long sentence has several rows, in order.
        num_examples: number of examples.
        pad_id: id of the padding token.
    """

    rows: list[Row]
    owners: list[int]
    num_examples: int
    pad_id: int


def encode_examples(
    examples: Sequence[Example], data: TaskData, tokenizer: Any, max_length: int, *, typed: bool = False
) -> EncodedExamples:
    """Encode examples of a task.

    Invariants: in a token task each word has its label in exactly one row, on its first sub-word; a word
    without sub-words is the unknown token.

    Args:
        examples: the examples.
        data: the task, for its kind and labels.
        tokenizer: a fast tokenizer.
        max_length: of a row, special tokens included.
        typed: whether the model marks the second text of a pair by its token type.

    Raises:
        HarnessError: an example has a label that the training part lacks.
    """
    index = {label: position for position, label in enumerate(data.labels)}
    for example in examples:
        for label in example.labels if isinstance(example, TokenExample) else (example.label,):
            if label not in index:
                raise HarnessError(
                    f"{data.task.name}: expected labels of the training part ({', '.join(index)}); got "
                    f"'{label}'; correct the data or leave the example out"
                )
    if data.task.kind == "sequence":
        rows, owners = _encode_texts(
            [example for example in examples if isinstance(example, TextExample)],
            index,
            tokenizer,
            max_length,
            typed=typed,
        )
    else:
        rows, owners = _encode_sentences(
            [example for example in examples if isinstance(example, TokenExample)],
            index,
            tokenizer,
            max_length,
        )
    return EncodedExamples(rows, owners, len(examples), int(tokenizer.pad_token_id))


def _encode_texts(
    examples: Sequence[TextExample], index: dict[str, int], tokenizer: Any, max_length: int, *, typed: bool
) -> tuple[list[Row], list[int]]:
    if not examples:
        return [], []
    texts = [one.texts for one in examples]
    paired = len(texts[0]) > 1
    given = texts if paired else [text for (text,) in texts]
    encoded = tokenizer(given, truncation=True, max_length=max_length)
    rows = [
        {"input_ids": row, "labels": index[one.label], "length": len(row)}
        for row, one in zip(encoded["input_ids"], examples, strict=True)
    ]
    if paired and typed and _TYPES in encoded:
        rows = [row | {_TYPES: types} for row, types in zip(rows, encoded[_TYPES], strict=True)]
    return rows, list(range(len(rows)))


def _encode_sentences(
    examples: Sequence[TokenExample], index: dict[str, int], tokenizer: Any, max_length: int
) -> tuple[list[Row], list[int]]:
    rows: list[Row] = []
    owners: list[int] = []
    for owner, example in enumerate(examples):
        pieces = split_words(example.words, tokenizer, max_length - 2)
        labels = [index[label] for label in example.labels]
        for window in _cut_windows(pieces, max_length - 2):
            rows.append(
                _make_row([pieces[word] for word in window], [labels[word] for word in window], tokenizer)
            )
            owners.append(owner)
    return rows, owners


def split_words(words: Sequence[str], tokenizer: Any, room: int) -> list[list[int]]:
    """Split words into sub-words; no word is left without a sub-word or exceeds the room of a row.

    Invariants: the sub-words are those of the words in a text, with a space between the words.
    """
    pieces: list[list[int]] = [[] for _ in words]
    split = _split_in_text if _sees_spaces(tokenizer) else _split_alone
    for token, word in split(words, tokenizer):
        pieces[word].append(token)
    return [piece[:room] or [int(tokenizer.unk_token_id)] for piece in pieces]


def _sees_spaces(tokenizer: Any) -> bool:
    """Return whether a word is split differently after a space, as by RoBERTa's or Gemma's tokenizer."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    text = normalizer.normalize_str("a a") if normalizer is not None else "a a"
    pieces = [piece for piece, _ in splitter.pre_tokenize_str(text)] if splitter is not None else [text]
    return len({*pieces}) > 1 or len(pieces) == 1


def _split_alone(words: Sequence[str], tokenizer: Any) -> list[tuple[int, int]]:
    """Return tokens with the index of their word; each word is split by itself."""
    encoded = tokenizer(list(words), is_split_into_words=True, add_special_tokens=False)
    return list(zip(encoded["input_ids"], encoded.word_ids(), strict=True))


def _split_in_text(words: Sequence[str], tokenizer: Any) -> list[tuple[int, int]]:
    """Return tokens with the index of the last word in them; a space alone belongs to the word after it."""
    encoded = tokenizer(" ".join(words), add_special_tokens=False, return_offsets_mapping=True)
    owners = [place for place, word in enumerate(words) for _ in range(len(word) + (place > 0))]
    gaps = {place for place, (one, two) in enumerate(pairwise(owners), start=1) if one != two}
    ends = (min(max(start, end - 1), len(owners) - 1) for start, end in encoded["offset_mapping"])
    starts = (start for start, _ in encoded["offset_mapping"])
    lasts = (end - 1 if end in gaps and start < end else end for start, end in zip(starts, ends, strict=True))
    return [(token, owners[last]) for token, last in zip(encoded["input_ids"], lasts, strict=True)]


def _cut_windows(pieces: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    """Cut a sentence between words such that each window fits."""
    windows: list[list[int]] = []
    used = room + 1
    for word, piece in enumerate(pieces):
        if used + len(piece) > room:
            windows.append([])
            used = 0
        windows[-1].append(word)
        used += len(piece)
    return windows


def _make_row(pieces: Sequence[Sequence[int]], labels: Sequence[int], tokenizer: Any) -> Row:
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    ids, row_labels = [int(first)], [IGNORED]
    for piece, label in zip(pieces, labels, strict=True):
        ids.extend(piece)
        row_labels.extend([label, *[IGNORED] * (len(piece) - 1)])
    return {"input_ids": [*ids, int(last)], "labels": [*row_labels, IGNORED], "length": len(ids) + 1}


def pad_rows(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """Return ``input_ids``, ``attention_mask`` (B × L) and ``labels`` (B × L, or B) of some rows.

    Rows with ``token_type_ids`` (B × L) keep them; ``teacher_logits`` (N × C) are those of the N labels of
    all rows, in order.
    """
    batch = collate([np.asarray(row["input_ids"], np.int32) for row in rows], pad_id)
    if _TYPES in rows[0]:
        batch[_TYPES] = collate([np.asarray(row[_TYPES], np.int32) for row in rows], 0)["input_ids"]
    if TEACHER_LOGITS in rows[0]:
        batch[TEACHER_LOGITS] = torch.cat([row[TEACHER_LOGITS] for row in rows])
    if isinstance(rows[0]["labels"], int):
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
        return batch
    labels_BL = torch.full_like(batch["input_ids"], IGNORED)
    for place, row in enumerate(rows):
        labels_BL[place, : len(row["labels"])] = torch.tensor(row["labels"])
    batch["labels"] = labels_BL
    return batch
