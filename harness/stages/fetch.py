"""Takes a teacher from the hub, at a pinned revision, or from a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models import checkpoint
from harness.stages.files import write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Checks the checkpoint and writes it as every other stage writes its model."""
    source = context.inputs.get("folder") or context.config["hub_id"]
    found = checkpoint.load(source, context.config.get("revision"))
    context.facts["teacher"] = {
        "name": str(context.config["name"]),
        "revision": context.config.get("revision"),
    }
    write_model(context, found.model, found.tokenizer)
