"""Reduce the width of the hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.models.narrowing.narrow import narrow_on_text
from harness.models.surgery import axes
from harness.stages.io.artifacts import read_masked, read_model, write_step
from harness.stages.io.facts import StepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> StepFacts:
    """Write the narrower model; a choice or a fit on text reads the corpus's training part alone."""
    model, tokenizer = read_model(context)
    return write_step(context, _narrow(context, model, tokenizer), tokenizer)


def _narrow(context: Context, model: Any, tokenizer: Any) -> Any:
    config = context.config
    sizes = config["hidden"], config["heads"]
    within = config.get("within", "first")
    if config["basis"] == "first" and not config.get("refit"):
        return axes.narrow(model, *sizes, heads_mode=config["heads_mode"], within=within)
    return narrow_on_text(
        model,
        *sizes,
        read_masked(context, tokenizer, "train"),
        basis=config["basis"],
        within=within,
        refit=config["refit"],
        heads_mode=config["heads_mode"],
    )
