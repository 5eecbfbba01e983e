"""Makes the hidden states narrower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models import surgery
from harness.stages.files import read_model, record_held_out, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the narrower model."""
    config = context.config
    model, tokenizer = read_model(context)
    narrower = surgery.narrow(
        model, config["hidden"], config["heads"], basis=config["basis"], heads_mode=config["heads_mode"]
    )
    record_held_out(context, narrower, tokenizer)
    write_model(context, narrower, tokenizer)
