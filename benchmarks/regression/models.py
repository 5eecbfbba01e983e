"""Small models on which encoders and stages are timed and counted: built-in text, random weights.

Teacher and student have the shapes of the method at a tenth of the width, made by the package's own steps.
Each has a head for the built-in topics, fitted by least squares at once, so that there are right answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.config.shape import Shape
from harness.data.builtin import read_corpus, read_task
from harness.data.examples import TaskData
from harness.deploy.fp32_file import build_checker, write_fp32
from harness.export.precisions import write_precision
from harness.export.source import prepare_source
from harness.models.loading.checkpoint import build_model, load_checkpoint, save_checkpoint
from harness.models.surgery import axes
from harness.models.surgery.importance import keep_top, measure_ffn_importance
from harness.models.tokenizers import choose_tokens, count_tokens, train_wordpiece, trim_vocabulary
from harness.precisions import PRECISIONS
from harness.train.finetuning.encoding import encode_examples, pad_rows
from harness.train.finetuning.finetune import load_task_model

LANGUAGE, TASK, LONGEST = "mt", "topic", 64
ROLES = ("teacher", "student")
SHAPE = Shape(family="bert", layers=6, hidden=96, heads=4, ffn=384, vocabulary=1500, positions=128, types=2)
TRIMMED = 900
_LINES, _SEED = 1200, 5
_RIDGE = 1e-2


def read_lines() -> list[str]:
    """Return sentences of the built-in corpus."""
    return [line for document in read_corpus(LANGUAGE, _LINES, _SEED) for line in document]


def read_documents() -> list[list[str]]:
    """Return documents of the built-in corpus."""
    return list(read_corpus(LANGUAGE, _LINES, _SEED))


def read_topics() -> TaskData:
    """Return the task that the encoders answer."""
    return read_task(TASK, LANGUAGE, (900, 6, 192), _SEED)


def compress_teacher(teacher: Any, tokenizer: Any) -> tuple[Any, Any]:
    """Return the student that the method's steps make of a teacher, and its tokenizer."""
    config = teacher.config
    student = axes.shorten(teacher, range(config.num_hidden_layers // 2, config.num_hidden_layers))
    scores = measure_ffn_importance(student, (), "magnitude")
    student = axes.prune_ffn(student, keep_top(scores, 2 * config.intermediate_size // 3))
    student = axes.narrow(student, config.hidden_size // 2, config.num_attention_heads)
    counts = count_tokens(tokenizer, read_lines())
    trimmed = trim_vocabulary(student, tokenizer, choose_tokens(counts, TRIMMED, tokenizer))
    return trimmed.model, trimmed.tokenizer


def make_models(folder: Path) -> None:
    """Write ``teacher`` and ``student``: each a checkpoint, and under ``onnx`` its graphs for the task."""
    tokenizer = train_wordpiece(read_lines(), SHAPE.vocabulary, SHAPE.max_length)
    teacher = build_model(SHAPE, _SEED)
    models = {"teacher": (teacher, tokenizer), "student": compress_teacher(teacher, tokenizer)}
    for role in ROLES:
        save_checkpoint(*models[role], folder / role)
        _export(folder / role)


def _export(folder: Path) -> None:
    data, tokenizer = read_topics(), load_checkpoint(folder).tokenizer
    source = prepare_source(TASK, load_classifier(folder, data), tokenizer)
    checker = build_checker(source, length=LONGEST, seconds=2.0)
    exported = write_fp32(source, folder / "onnx", checker, candidates=("legacy",))
    write_precision("int8", exported.path, folder / "onnx" / PRECISIONS["int8"].file)


def load_classifier(folder: Path, data: TaskData) -> Any:
    """Return the encoder with its head for the topics; the weights depend on the folder alone."""
    torch.manual_seed(_SEED)
    model, tokenizer = load_task_model(folder, data).eval(), load_checkpoint(folder).tokenizer
    encoded = encode_examples(data.train, data, tokenizer, LONGEST)
    batch = pad_rows(encoded.rows, encoded.pad_id)
    labels_B = batch.pop("labels")
    with torch.no_grad():
        features_BD = model.bert(**batch).pooler_output
        weight_CD, bias_C = _fit(features_BD.double(), labels_B, len(data.labels))
        model.classifier.weight.copy_(weight_CD)
        model.classifier.bias.copy_(bias_C)
    return model


def _fit(features_BD: Tensor, labels_B: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the ridge regression of one-hot labels on the features."""
    centre_D = features_BD.mean(0)
    centred_BD = features_BD - centre_D
    target_BC = torch.nn.functional.one_hot(labels_B, classes).double()
    square_DD = centred_BD.T @ centred_BD
    square_DD += _RIDGE * square_DD.diagonal().mean() * torch.eye(len(square_DD), dtype=square_DD.dtype)
    weight_DC = torch.linalg.solve(square_DD, centred_BD.T @ target_BC)
    return weight_DC.T, target_BC.mean(0) - centre_D @ weight_DC
