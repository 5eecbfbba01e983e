"""Take a teacher from the hub, at a pinned revision, or from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.models.loading.tokenizer_json import list_reading_notes
from harness.stages.io.artifacts import write_model
from harness.stages.io.facts import FetchFacts, TeacherFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> FetchFacts:
    """Check the checkpoint, and write it in the form in which every stage writes its model."""
    config = context.config
    source = context.inputs.get("folder") or config["hub_id"]
    loaded = checkpoint.load_teacher(source, config.get("revision"))
    model, tokenizer = loaded.checkpoint
    _check_shape(str(source), model, Shape(**config["shape"]))
    teacher = TeacherFacts(
        name=config.get("name") or Path(source).resolve().name,
        revision=config.get("revision"),
        licence=loaded.licence,
    )
    written = write_model(context, model, tokenizer)
    return FetchFacts(
        teacher=teacher,
        new_head=loaded.new_head,
        dropped_rows=loaded.dropped_rows,
        tokenizer_notes=list(list_reading_notes(tokenizer)),
        **vars(written),
    )


def _check_shape(source: str, model: Any, planned: Shape) -> None:
    """Refuse a teacher whose shape is not the one that every later step was planned for."""
    got = Shape.from_transformers(model.config.to_dict())
    for name, value in planned.model_dump().items():
        if getattr(got, name) != value:
            raise HarnessError(
                f"teacher '{source}': expected {name} {value}, as planned; got {getattr(got, name)}; "
                "take another revision, or a recipe for this teacher"
            )
