"""Reduce the width of the hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config.steps.narrow import ResolvedNarrow
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
    step = context.get_step(ResolvedNarrow)
    if step.text is None:
        return axes.narrow(model, step.hidden, step.heads, heads_mode=step.heads_mode, within=step.within)
    return narrow_on_text(
        model,
        step.hidden,
        step.heads,
        read_masked(context, tokenizer, step.text),
        basis=step.basis,
        within=step.within,
        refit=step.refit,
        heads_mode=step.heads_mode,
    )
