"""Time the exports of teacher and student against each other, in interleaved rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.json_files import read_json, write_json
from harness.measure.latency import compare_with_base
from harness.measure.onnx_evaluation import open_session, time_files
from harness.precisions import FP32, PRECISIONS
from harness.stages.io.export_facts import LatencyFacts, TimingFacts
from harness.stages.io.facts import to_json

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> LatencyFacts:
    """Write ``latency.json``: a row for each file, task, input length and number of threads."""
    config = context.config
    rows: list[TimingFacts] = []
    settings = [
        (task, length, threads)
        for task in config["tasks"]
        for length in config["lengths"]
        for threads in config["threads"]
    ]
    for done, (task, length, threads) in enumerate(settings):
        context.progress(done, len(settings), "timings", {})
        rows.extend(_time(context, task, length, threads))
    facts = LatencyFacts(latency=rows)
    write_json(context.out / "latency.json", to_json(facts)["latency"])
    return facts


def _time(context: Context, task: str, length: int, threads: int) -> list[TimingFacts]:
    config = context.config
    files = _list_files(context, task)
    samples = time_files(
        files,
        {
            name: _draw_batch(path, config["batch_size"], length, config["seed"])
            for name, path in files.items()
        },
        threads=threads,
        warmup_s=config["warmup_seconds"],
        budget_s=config["seconds"],
        min_rounds=config["rounds"],
        seed=config["seed"],
    )
    rows = []
    for name, timing in compare_with_base(samples, f"teacher/{FP32}").items():
        role, precision = name.split("/")
        rows.append(
            TimingFacts(
                task=task,
                role=role,
                precision=precision,
                length=length,
                threads=threads,
                batch_size=config["batch_size"],
                rounds=len(timing.samples.durations_ns),
                **timing.record(50, 90),
            )
        )
    return rows


def _list_files(context: Context, task: str) -> dict[str, Path]:
    """Return the files of a task, named as ``teacher/fp32``."""
    files: dict[str, Path] = {}
    ending = f".{task}"
    for role in (name.removesuffix(ending) for name in context.inputs if name.endswith(ending)):
        folder = context.inputs[f"{role}{ending}"] / "onnx"
        for name, row in PRECISIONS.items():
            if (folder / row.file).is_file():
                files[f"{role}/{name}"] = folder / row.file
    return files


def _draw_batch(path: Path, rows: int, length: int, seed: int) -> dict[str, Any]:
    """Draw ids of the model's own vocabulary: latency does not depend on which tokens they are."""
    vocabulary = int(read_json(path.parent / "config.json")["vocab_size"])
    taken = {one.name for one in open_session(path).get_inputs()}
    ids_BL = np.random.default_rng(seed).integers(5, vocabulary, (rows, length), dtype=np.int64)
    inputs = {
        "input_ids": ids_BL,
        "attention_mask": np.ones_like(ids_BL),
        "token_type_ids": np.zeros_like(ids_BL),
    }
    return {name: value for name, value in inputs.items() if name in taken}
