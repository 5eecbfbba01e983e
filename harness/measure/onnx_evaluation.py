"""Run, time and compare ONNX files of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from harness.errors import HarnessError, first_line
from harness.measure.latency import Choice, Samples, choose_fastest, interleave
from harness.measure.parity import Batch, Parity, compare_logits

_QUIET = 3


def open_session(path: Path, *, threads: int = 1) -> Any:
    """Open an ONNX file on the CPU.

    Raises:
        HarnessError: the file is missing or is no ONNX model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise HarnessError(
            f"onnx: expected a model in '{path}'; got {first_line(error)}; export it again"
        ) from error


def bind_batch(session: Any, batch: Batch) -> Callable[[], object]:
    """Return a function that runs the session on one batch, without inputs that the graph does not take."""
    inputs = {one.name for one in session.get_inputs()}
    feed = {name: np.ascontiguousarray(value) for name, value in batch.items() if name in inputs}
    return lambda: session.run(None, feed)


def time_files(
    paths: Mapping[str, Path],
    batches: Mapping[str, Batch],
    *,
    threads: int = 1,
    warmup_s: float = 0.3,
    budget_s: float = 3.0,
    min_rounds: int = 10,
    seed: int = 0,
) -> dict[str, Samples]:
    """Time ONNX files interleaved.

    Args:
        paths: the files, by name.
        batches: the input of each, by the same names (a trimmed model has ids of its own).
        threads: of each session.
        warmup_s: as of :func:`harness.measure.latency.interleave`.
        budget_s: for all files together.
        min_rounds: however long they last.
        seed: of the order.
    """
    variants = {
        name: bind_batch(open_session(path, threads=threads), batches[name]) for name, path in paths.items()
    }
    return interleave(variants, warmup_s=warmup_s, budget_s=budget_s, min_rounds=min_rounds, seed=seed)


class OnnxChecker:
    """Compare ONNX files with the torch model they were exported from, and with each other.

    Invariants: every file gets the same batches; timing uses one row, on ``threads`` threads.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        batches: Sequence[Batch],
        *,
        threads: int = 1,
        warmup_s: float = 0.2,
        budget_s: float = 2.0,
        min_rounds: int = 10,
    ) -> None:
        self.model, self.batches = model, batches
        self.threads, self.warmup_s = threads, warmup_s
        self.budget_s, self.min_rounds = budget_s, min_rounds

    @property
    def timed_row(self) -> Batch:
        """The first row of the longest batch."""
        longest = max(self.batches, key=lambda batch: batch["input_ids"].shape[1])
        return {name: value[:1] for name, value in longest.items()}

    @property
    def length(self) -> int:
        """The tokens of the longest batch."""
        return int(self.timed_row["input_ids"].shape[1])

    def measure_parity(self, path: Path) -> Parity:
        """Compare one file with the model over all batches."""
        return compare_logits(self.model, open_session(path, threads=self.threads), self.batches)

    def choose_fastest(self, paths: Mapping[str, Path]) -> Choice:
        """Choose among files by the time of one row."""
        samples = time_files(
            paths,
            dict.fromkeys(paths, self.timed_row),
            threads=self.threads,
            warmup_s=self.warmup_s,
            budget_s=self.budget_s,
            min_rounds=self.min_rounds,
        )
        return choose_fastest(samples)
