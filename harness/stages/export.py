"""Export a fine-tuned model to ONNX, check it against torch, and quantise a copy to int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.deploy.fp32_file import build_checker, write_fp32
from harness.deploy.precision_copy import write_copy
from harness.export.source import load_source
from harness.stages.io.export_facts import ExportFacts, GraphFacts, Int8Facts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> ExportFacts:
    """Write ``onnx/``: model.onnx, model_int8.onnx, tokenizer and config."""
    config = context.config
    source = load_source(context.inputs["model"] / "model", config["task"])
    checker = build_checker(
        source, length=max(config["lengths"]), seconds=config["seconds"], seed=config["seed"]
    )
    exported = write_fp32(
        source,
        context.out / "onnx",
        checker,
        candidates=config["candidates"],
        tolerance=config["parity_tolerance"],
    )
    fp32 = GraphFacts(**exported.record())
    if config["quantize"] != "int8":
        return ExportFacts(fp32=fp32)
    copy = write_copy("int8", exported.path)
    parity = checker.measure_parity(copy.path)
    int8 = Int8Facts(
        path=copy.path.name,
        size_bytes=copy.path.stat().st_size,
        max_abs_delta=parity.max_abs_delta,
        argmax_agreement=parity.argmax_agreement,
    )
    return ExportFacts(fp32=fp32, int8=int8)
