"""Takes a teacher from the hub, at a pinned revision, or from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.stages.io.artifacts import write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Checks the checkpoint and writes it as every other stage writes its model."""
    source = context.inputs.get("folder") or context.config["hub_id"]
    found = checkpoint.load_checkpoint(source, context.config.get("revision"))
    _check_shape(str(source), found.model, Shape(**context.config["shape"]))
    context.facts["teacher"] = {
        "name": context.config.get("name") or Path(source).resolve().name,
        "revision": context.config.get("revision"),
    }
    write_model(context, found.model, found.tokenizer)


def _check_shape(source: str, model: Any, wanted: Shape) -> None:
    """Refuses a teacher of another shape than the one every later step was planned for."""
    got = Shape.from_transformers(model.config.to_dict())
    for name, value in wanted.model_dump().items():
        if getattr(got, name) != value:
            raise HarnessError(
                f"teacher '{source}': wanted {name} {value}, as the plan has it; got {getattr(got, name)}; "
                "take another revision, or a recipe for this teacher"
            )
