"""Time students of given shapes, exported with random weights: a latency does not depend on the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from harness.config.export_size import NUM_LABELS
from harness.config.shape import Shape
from harness.deploy.latency_table import LatencySetting
from harness.export.graphs import WAYS, write_graph
from harness.export.precisions import write_precision
from harness.measure.latency import interleave
from harness.measure.onnx_evaluation import bind_batch, open_session
from harness.models.loading.checkpoint import build_model
from harness.precisions import FP32, PRECISIONS
from harness.tasks import HEADS

_WARMUP_S, _EACH_S, _MIN_ROUNDS, _SEED = 0.1, 1.0, 30, 0


@dataclass(frozen=True)
class TimedStudent:
    """A student of random weights: the bytes of its file, and its median latency."""

    size_bytes: int
    p50_ms: float


def time_students(
    shapes: Sequence[Shape],
    setting: LatencySetting,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[TimedStudent]:
    """Export a student of each shape, and time all of them in turns.

    Args:
        shapes: of the students.
        setting: how they are timed.
        progress: called with the number of students that are exported, and of all.
    """
    variants, sizes = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for number, shape in enumerate(shapes):
            path = write_student(shape, Path(scratch), setting)
            sizes.append(path.stat().st_size)
            session = open_session(path, threads=setting.threads)
            variants[str(number)] = bind_batch(session, draw_row(shape, setting.length))
            progress(number + 1, len(shapes))
    samples = interleave(
        variants, warmup_s=_WARMUP_S, budget_s=_EACH_S * len(shapes), min_rounds=_MIN_ROUNDS, seed=_SEED
    )
    return [
        TimedStudent(size_bytes, samples[name].median_ms)
        for name, size_bytes in zip(variants, sizes, strict=True)
    ]


def write_student(shape: Shape, folder: Path, setting: LatencySetting) -> Path:
    """Write a text task's student of random weights as ONNX, and return the file.

    No two vectors are equal, as in a trained model: exporters store equal ones once.
    """
    config = build_model(shape, _SEED).config
    config.num_labels = NUM_LABELS
    model: Any = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if shape.types > 1 else [])]
    fp32, row = folder / PRECISIONS[FP32].file, PRECISIONS[setting.precision]
    write_graph(model, fp32, WAYS["legacy"], head=HEADS["topic"], inputs=inputs, max_length=shape.max_length)
    if setting.precision == FP32:
        return fp32
    text = [draw_row(shape, setting.length)] if row.needs_text else []
    write_precision(setting.precision, fp32, folder / row.file, calibration=text)
    return folder / row.file


def draw_row(shape: Shape, length: int) -> dict[str, Any]:
    """Return a row of random tokens."""
    ids_BL = np.random.default_rng(_SEED).integers(5, shape.vocabulary, (1, length), dtype=np.int64)
    zeros_BL = np.zeros_like(ids_BL)
    return {"input_ids": ids_BL, "attention_mask": zeros_BL + 1, "token_type_ids": zeros_BL}
