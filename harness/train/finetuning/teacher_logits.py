"""The logits that fine-tuned teachers give to a task's examples, and to text without gold labels.

Shapes: **B** rows, **L** length, **N** texts or labelled words of a row, **C** classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor

from harness.data.batches import IGNORED
from harness.data.examples import Example, TaskData, TextExample, TokenExample
from harness.models.loading.encoder import count_token_types, load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.train.finetuning.encoding import TEACHER_LOGITS, EncodedExamples, Row, encode_examples, pad_rows
from harness.train.finetuning.finetune import load_task_model
from harness.train.finetuning.protocol import Protocol


def make_examples(lines: Sequence[str], data: TaskData) -> tuple[Example, ...]:
    """Return lines as examples of a task, each with a label in place of the unknown one.

    A task of words takes words and punctuation marks one by one, as treebanks do; a line without words is
    left out.
    """
    unknown = data.labels[0]
    if data.task.kind == "sequence":
        return tuple(TextExample(line, unknown) for line in lines)
    split = BertPreTokenizer().pre_tokenize_str
    sentences = (tuple(word for word, _ in split(line)) for line in lines)
    return tuple(TokenExample(words, (unknown,) * len(words)) for words in sentences if words)


def encode_with_logits(
    examples: Sequence[Example],
    data: TaskData,
    tokenizer: Any,
    protocol: Protocol,
    *,
    teachers: Sequence[Path],
    typed: bool = False,
) -> EncodedExamples:
    """Encode examples with the mean of the teachers' logits for each text or labelled word.

    A teacher reads the examples with its own tokenizer, which need not be the student's.

    Args:
        examples: with gold labels, or of `make_examples`.
        data: the task.
        tokenizer: of the student that learns from the rows.
        protocol: for length, batches and precision.
        teachers: folders of models that were fine-tuned on the task.
        typed: whether the student marks the second text of a pair by its token type.
    """
    totals: list[Tensor] = []
    for folder in teachers:
        logits = _compute_logits(folder, examples, data, protocol)
        totals = [one + two for one, two in zip(totals, logits, strict=True)] if totals else logits
    encoded = encode_examples(examples, data, tokenizer, protocol.max_length, typed=typed)
    left = {number: total / len(teachers) for number, total in enumerate(totals)}
    rows = []
    for owner, row in zip(encoded.owners, encoded.rows, strict=True):
        count = _count_labels(row)
        rows.append({**row, TEACHER_LOGITS: left[owner][:count].clone()})
        left[owner] = left[owner][count:]
    return replace(encoded, rows=rows)


@torch.no_grad()
def _compute_logits(
    folder: Path, examples: Sequence[Example], data: TaskData, protocol: Protocol
) -> list[Tensor]:
    """Return a fine-tuned model's logits of each example's text or labelled words, N × C, in fp32."""
    model = load_task_model(folder, data).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_task_tokenizer(open_model_folder(folder))
    typed = count_token_types(model.config) > 1
    encoded = encode_examples(examples, data, tokenizer, protocol.max_length, typed=typed)
    order = sorted(range(len(encoded.rows)), key=lambda row: -len(encoded.rows[row]["input_ids"]))
    by_row: dict[int, Tensor] = {}
    size = 4 * protocol.batch_size
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        batch = pad_rows([encoded.rows[number] for number in numbers], encoded.pad_id)
        labels = batch.pop("labels")
        given = {name: value.to(model.device) for name, value in batch.items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
            logits_NC = model(**given).logits[labels.to(model.device) != IGNORED].float().cpu()
        counts = [_count_labels(encoded.rows[number]) for number in numbers]
        by_row.update(zip(numbers, logits_NC.split(counts), strict=True))
    by_example: dict[int, list[Tensor]] = defaultdict(list)
    for row, owner in enumerate(encoded.owners):
        by_example[owner].append(by_row[row])
    return [torch.cat(by_example[number]) for number in range(len(examples))]


def _count_labels(row: Row) -> int:
    labels = row["labels"]
    return 1 if isinstance(labels, int) else sum(label != IGNORED for label in labels)
