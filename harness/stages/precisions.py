"""Write the final student's exports in every precision that the scale names; the quality gate checks each."""

from __future__ import annotations

import shutil
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoConfig

from harness.data import corpus
from harness.deploy.calibration import CALIBRATION_LINES, encode_calibration
from harness.deploy.precision_copy import write_copy
from harness.deploy.quality_gate import QualityGate, fit_labels
from harness.measure.as_module import OnnxModule
from harness.models.loading.tokenizer_json import read_tokenizer
from harness.precisions import FP32, PRECISIONS
from harness.stages.io.artifacts import read_task
from harness.stages.io.export_facts import CopyFacts, PrecisionsFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> PrecisionsFacts:
    """Write ``<task>/model_<precision>.onnx``; the gate compares dev scores with those of the fp32 file."""
    lines = list(
        chain.from_iterable(islice(corpus.stream(context.inputs["corpus"], "train"), CALIBRATION_LINES))
    )
    rows: list[CopyFacts] = []
    for done, task in enumerate(context.config["tasks"]):
        context.progress(done, len(context.config["tasks"]), "tasks", {})
        rows.extend(_write_copies(context, task, lines))
    return PrecisionsFacts(copies=rows)


def _write_copies(context: Context, task: str, lines: list[str]) -> list[CopyFacts]:
    """Write and check the copies of one task's model."""
    exported, folder = context.inputs[f"student.{task}"] / "onnx", context.out / task
    folder.mkdir()
    file = PRECISIONS[FP32].file
    fp32 = Path(shutil.copyfile(exported / file, folder / file))
    tokenizer, config = read_tokenizer(exported), AutoConfig.from_pretrained(exported)
    length = int(context.config["max_length"])
    data = fit_labels(read_task(context, task), config)
    gate = QualityGate(fp32, data, tokenizer, max_length=length)
    calibration = encode_calibration(lines, tokenizer, length=length, inputs=OnnxModule(fp32).inputs)
    rows = []
    for precision in context.config["precisions"]:
        copy = write_copy(precision, fp32, gate=gate, calibration=calibration)
        if copy.gate_result is not None:
            size_bytes = copy.path.stat().st_size
            rows.append(
                CopyFacts(task=task, precision=precision, size_bytes=size_bytes, **copy.gate_result.record())
            )
    fp32.unlink()
    return rows
