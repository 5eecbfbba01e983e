"""Draws random weights for the shape of a model: the baseline that knows only what the task teaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.shape import Shape
from harness.models.loading import checkpoint
from harness.models.loading.encoder import draw_encoder, load_task_tokenizer
from harness.models.loading.folder import open_model_folder, quiet
from harness.stages.io.artifacts import model_folder, read_model, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes a model of the same shape, with the same tokenizer, that has seen no text.

    Where ``head`` is false it is an encoder alone, of any stock class.
    """
    if not context.config.get("head", True):
        folder = open_model_folder(model_folder(context))
        with quiet():
            draw_encoder(folder, context.config["seed"]).save_pretrained(context.out / "model")
        load_task_tokenizer(folder).save_pretrained(context.out / "model")
        return
    model, tokenizer = read_model(context)
    shape = Shape.from_transformers(model.config.to_dict())
    fresh = checkpoint.build_model(shape, context.config["seed"])
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(fresh.config, name, getattr(model.config, name, None))
    write_model(context, fresh, tokenizer)
