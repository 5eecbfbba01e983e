"""Train an encoder of multilingual-e5-small's shape for some steps, and print the figures as a line of JSON.

Rows are random tokens with log-normal lengths (median 67, cut at 512), as lines of text have.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.shape import Shape
from harness.data.batches import Packed
from harness.models.loading.checkpoint import build_model
from harness.pipeline.memory import read_peak_bytes, reset_peak
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import train

VOCABULARY = 16_384
SHAPE = Shape(
    family="bert",
    layers=12,
    hidden=384,
    heads=12,
    ffn=1536,
    vocabulary=VOCABULARY,
    positions=512,
    types=2,
)


class Ids:
    """The part of a tokenizer that a stream of masked batches needs."""

    pad_token_id = 0
    mask_token_id = 4
    all_special_ids = (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return VOCABULARY


def draw_lines(num_rows: int = 6000, seed: int = 0) -> Packed:
    """Return rows of random tokens."""
    drawn = np.random.default_rng(seed)
    lengths = drawn.lognormal(4.2, 0.9, num_rows).astype(np.int64).clip(6, 512)
    ids = drawn.integers(5, VOCABULARY, int(lengths.sum())).astype(np.int32)
    return Packed(ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))


def run_training(steps: int, batch_tokens: int, shape: Shape = SHAPE) -> dict[str, Any]:
    """Train; return tokens, seconds, faults of pages, the last loss, the peak after 1, 2, 4, … steps."""
    budget = Budget(
        tokens=(steps - 1) * batch_tokens + 1,
        batch_tokens=batch_tokens,
        sequence_length=512,
        learning_rate=1e-4,
        warmup_fraction=0.1,
        mask_fraction=0.15,
        precision="bf16",
        seed=1,
        dropout=0.0,
        checkpoint_s=1e9,
    )
    student, peaks, done = build_model(shape, seed=1), {}, 0
    reset_peak()

    def progress(*_: object) -> None:
        nonlocal done
        done += 1
        if done & (done - 1) == 0:
            peaks[done] = read_peak_bytes()

    faults, wall_s, cpu_s = count_faults(), time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        figures = train(
            student,
            Ids(),
            draw_lines(),
            budget=budget,
            folder=Path(folder),
            progress=progress,
        )
    return {
        "tokens": figures["tokens"],
        "steps": figures["steps"],
        "wall_s": time.monotonic() - wall_s,
        "cpu_s": time.process_time() - cpu_s,
        "faults": count_faults() - faults,
        "peak_bytes": {**peaks, figures["steps"]: read_peak_bytes()},
        "loss": figures["losses"][-1]["loss"] if figures["losses"] else None,
    }


def count_faults() -> int:
    """Count the pages that this process has touched for the first time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    print(json.dumps(run_training(int(sys.argv[1]), int(sys.argv[2]))))
