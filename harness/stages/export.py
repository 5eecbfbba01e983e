"""Export a fine-tuned model to ONNX, check it against torch, and quantise a copy to int8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from harness.export import onnx
from harness.export.precisions import write_precision
from harness.measure.onnx_evaluation import Judge
from harness.measure.parity import probe_batches
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import quiet
from harness.precisions import PRECISIONS
from harness.stages.io.facts import ExportFacts, GraphFacts, Int8Facts
from harness.tasks import task_named

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> ExportFacts:
    """Write ``onnx/``: model.onnx, model_int8.onnx, tokenizer and config."""
    config = context.config
    folder = context.out / "onnx"
    model, tokenizer = _load(context)
    batches = probe_batches(
        onnx.inputs_of(model, tokenizer),
        vocabulary=model.config.vocab_size,
        pad_id=tokenizer.pad_token_id,
        max_length=min(onnx.longest_input(model), max(config["lengths"])),
        types=count_token_types(model),
        seed=config["seed"],
    )
    judge = Judge(model, batches, budget_s=config["seconds"])
    exported = onnx.export(
        model,
        tokenizer,
        folder,
        task=config["task"],
        judge=judge,
        candidates=config["candidates"],
        tolerance=config["parity_tolerance"],
    )
    fp32 = GraphFacts(**exported.record())
    if config["quantize"] != "int8":
        return ExportFacts(fp32=fp32)
    path = folder / PRECISIONS["int8"].file
    size_bytes = write_precision("int8", exported.path, path)
    parity = judge.parity(path)
    int8 = Int8Facts(
        path=path.name,
        size_bytes=size_bytes,
        max_abs_delta=parity.max_abs_delta,
        argmax_agreement=parity.argmax_agreement,
    )
    return ExportFacts(fp32=fp32, int8=int8)


def _load(context: Context) -> tuple[Any, Any]:
    folder = context.inputs["model"] / "model"
    token = task_named(context.config["task"]).kind == "token"
    stock = AutoModelForTokenClassification if token else AutoModelForSequenceClassification
    with quiet():
        model = stock.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)
