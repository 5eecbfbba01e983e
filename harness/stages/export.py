"""Writes a fine-tuned model as ONNX, checks it against torch, and quantises a copy to int8."""

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
from harness.precisions import FP32, PRECISIONS
from harness.tasks import task_named

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``onnx/``: model.onnx, model_int8.onnx, tokenizer and config.

    Facts: the graph that was kept and why, sizes, largest difference from torch, agreement of the int8 copy.
    """
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
    context.facts[FP32] = exported.record()
    if config["quantize"] != "none":
        row = PRECISIONS[config["quantize"]]
        size = write_precision(row.name, exported.path, folder / row.file)
        parity = judge.parity(folder / row.file)
        context.facts[row.name] = {
            "path": row.file,
            "size_bytes": size,
            "max_abs_delta": parity.max_abs_delta,
            "argmax_agreement": parity.argmax_agreement,
        }


def _load(context: Context) -> tuple[Any, Any]:
    folder = context.inputs["model"] / "model"
    token = task_named(context.config["task"]).kind == "token"
    stock = AutoModelForTokenClassification if token else AutoModelForSequenceClassification
    with quiet():
        model = stock.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)
