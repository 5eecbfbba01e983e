"""Takes a student of random weights in place of the model, in the shape the recipe asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config.shape import Shape
from harness.models.loading import checkpoint
from harness.stages.io.artifacts import read_model, record_held_out, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the fresh student with the model's tokenizer; its embeddings may be the model's own."""
    model, tokenizer = read_model(context)
    fresh: Any = checkpoint.build_model(Shape.model_validate(context.config["shape"]), context.config["seed"])
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(fresh.config, name, getattr(model.config, name, None))
    if context.config["embeddings"] == "copied":
        base: Any = model.base_model
        fresh.base_model.embeddings.load_state_dict(base.embeddings.state_dict())
    record_held_out(context, fresh, tokenizer)
    write_model(context, fresh, tokenizer)
