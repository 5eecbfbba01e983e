"""Drop layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.steps.shorten import ResolvedShorten
from harness.models.surgery import axes
from harness.models.surgery.influence import choose_by_influence
from harness.stages.io.artifacts import read_masked, read_model, write_step
from harness.stages.io.facts import LayerRemoval, ShortenFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> ShortenFacts:
    """Write the model with the layers that the recipe keeps, or those that the loss on text misses most."""
    model, tokenizer = read_model(context)
    step = context.get_step(ResolvedShorten)
    if step.text is None or step.number is None:
        return ShortenFacts(**vars(write_step(context, axes.shorten(model, step.layers), tokenizer)))
    batches = list(read_masked(context, tokenizer, step.text))
    layers, removed = choose_by_influence(model, batches, step.number, context.progress)
    written = write_step(context, axes.shorten(model, layers), tokenizer)
    removals = [LayerRemoval(**one._asdict()) for one in removed]
    return ShortenFacts(kept=list(layers), removed=removals, **vars(written))
