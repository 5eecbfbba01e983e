"""Keeps some of the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models.surgery import axes
from harness.stages.io.artifacts import read_model, record_held_out, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the model with the layers the recipe keeps, in their order."""
    model, tokenizer = read_model(context)
    shorter = axes.shorten(model, context.config["layers"])
    record_held_out(context, shorter, tokenizer)
    write_model(context, shorter, tokenizer)
