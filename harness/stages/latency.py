"""Times the exports of teacher and student side by side, round by round, on inputs of one length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.json_files import read_json, write_json
from harness.measure.latency import ratio
from harness.measure.onnx_evaluation import open_session, time_files
from harness.precisions import FP32, PRECISIONS

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``latency.json``: how long each file takes, by task, length and number of threads.

    Facts: for every file p50 and p90 in ms, and how many times as fast as the teacher's fp32 file it is, with
    an interval.
    """
    config = context.config
    rows: list[dict[str, Any]] = []
    settings = [
        (task, length, threads)
        for task in config["tasks"]
        for length in config["lengths"]
        for threads in config["threads"]
    ]
    for done, (task, length, threads) in enumerate(settings):
        context.progress(done, len(settings), "timings", {})
        rows.extend(_time(context, task, length, threads))
    write_json(context.out / "latency.json", rows)
    context.facts["latency"] = rows


def _time(context: Context, task: str, length: int, threads: int) -> list[dict[str, Any]]:
    config = context.config
    files = _files(context, task)
    samples = time_files(
        files,
        {name: _batch(path, config["batch_size"], length, config["seed"]) for name, path in files.items()},
        threads=threads,
        warmup_s=config["warmup_seconds"],
        budget_s=config["seconds"],
        min_rounds=config["rounds"],
        seed=config["seed"],
    )
    rows = []
    for name, taken in samples.items():
        role, variant = name.split("/")
        speed = ratio(samples[f"teacher/{FP32}"], taken)
        rows.append(
            {
                "task": task,
                "role": role,
                "precision": variant,
                "length": length,
                "threads": threads,
                "batch_size": config["batch_size"],
                "rounds": len(taken.durations_ns),
                "p50_ms": taken.percentile_ms(50),
                "p90_ms": taken.percentile_ms(90),
                "speed_ratio": {"value": speed.value, "low": speed.low, "high": speed.high},
            }
        )
    return rows


def _files(context: Context, task: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    ending = f".{task}"
    for role in (name.removesuffix(ending) for name in context.inputs if name.endswith(ending)):
        folder = context.inputs[f"{role}{ending}"] / "onnx"
        found |= {
            f"{role}/{name}": folder / row.file
            for name, row in PRECISIONS.items()
            if (folder / row.file).is_file()
        }
    return found


def _batch(path: Path, rows: int, length: int, seed: int) -> dict[str, Any]:
    """Draws ids of the model's own vocabulary: what a token is does not change how long it takes."""
    vocabulary = int(read_json(path.parent / "config.json")["vocab_size"])
    wanted = {one.name for one in open_session(path).get_inputs()}
    ids_BL = np.random.default_rng(seed).integers(5, vocabulary, (rows, length), dtype=np.int64)
    every = {
        "input_ids": ids_BL,
        "attention_mask": np.ones_like(ids_BL),
        "token_type_ids": np.zeros_like(ids_BL),
    }
    return {name: value for name, value in every.items() if name in wanted}
