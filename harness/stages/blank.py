"""Replace the model by a student with random weights, in the shape that the recipe asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config.steps.blank import ResolvedBlank
from harness.models.loading import checkpoint
from harness.stages.io.artifacts import read_model, write_step
from harness.stages.io.facts import StepFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> StepFacts:
    """Write the student with the model's tokenizer; its embeddings may be copied from the model."""
    model, tokenizer = read_model(context)
    step = context.get_step(ResolvedBlank)
    shape = step.shape.model_copy(update={"vocabulary": model.config.vocab_size})  # a trim may keep fewer
    student: Any = checkpoint.build_model(shape, step.seed)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(student.config, name, getattr(model.config, name, None))
    if step.embeddings == "copied":
        base: Any = model.base_model
        student.base_model.embeddings.load_state_dict(base.embeddings.state_dict())
    return write_step(context, student, tokenizer)
