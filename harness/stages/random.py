"""Initialise a model of the same shape with random weights: a baseline that learns from the task alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config.shape import Shape
from harness.models.loading import checkpoint
from harness.models.loading.encoder import draw_encoder, load_task_tokenizer
from harness.models.loading.folder import open_model_folder, quiet
from harness.models.loading.tokenizer_json import save_tokenizer
from harness.stages.io.artifacts import find_model_folder, read_model, write_model
from harness.stages.io.facts import SizeFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> SizeFacts:
    """Write a model of the same shape, with the same tokenizer, that has seen no text.

    Where ``head`` is false, the model is an encoder without an MLM head, of any stock class.
    """
    if not context.config.get("head", True):
        folder = open_model_folder(find_model_folder(context))
        with quiet():
            draw_encoder(folder, context.config["seed"]).save_pretrained(context.out / "model")
        save_tokenizer(load_task_tokenizer(folder), context.out / "model")
        return SizeFacts()
    model, tokenizer = read_model(context)
    drawn = checkpoint.build_model(Shape.from_transformers(model.config.to_dict()), context.config["seed"])
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(drawn.config, name, getattr(model.config, name, None))
    return write_model(context, drawn, tokenizer)
