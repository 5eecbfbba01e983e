"""Reduce the width of the hidden states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.config.steps.narrow import ResolvedNarrow
from harness.models.narrowing.narrow import narrow_on_text
from harness.models.surgery import axes
from harness.models.surgery.importance import Batch
from harness.stages.io.artifacts import read_masked, read_model, write_step
from harness.stages.io.facts import StepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> StepFacts:
    """Write the narrower model; a choice or a fit on text reads the corpus's training part alone."""
    model, tokenizer = read_model(context)
    step = context.get_step(ResolvedNarrow)
    batches = () if step.text is None else read_masked(context, tokenizer, step.text)
    return write_step(context, narrow_model(model, step, batches), tokenizer)


def narrow_model(model: Any, step: ResolvedNarrow, batches: Iterable[Batch]) -> Any:
    """Return a model with narrower hidden states; the batches are read where the step reads text."""
    if step.text is None:
        return axes.narrow(model, step.hidden, step.heads, heads_mode=step.heads_mode, within=step.within)
    return narrow_on_text(
        model,
        step.hidden,
        step.heads,
        batches,
        basis=step.basis,
        within=step.within,
        refit=step.refit,
        heads_mode=step.heads_mode,
    )
