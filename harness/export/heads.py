"""Whether a model has the head that its task needs."""

from __future__ import annotations

from typing import Any

from harness.errors import HarnessError, unknown
from harness.tasks import HEADS, Head


def check_head(model: Any, task: str) -> Head:
    """Return the head that a task's model must have, after checking that this model has it.

    Raises:
        UsageError: no such task.
        HarnessError: the model has another head, no names for its classes, or weights that are not float32.
    """
    if task not in HEADS:
        raise unknown("task", task, HEADS)
    head, name = HEADS[task], type(model).__name__
    if not name.endswith(head.suffix):
        raise HarnessError(
            f"export: wanted a …{head.suffix} model for the task '{task}'; got {name}; "
            f"fine-tune it on that task"
        )
    names = [str(one) for one in model.config.id2label.values()] if head.labelled else []
    if head.labelled and names == [f"LABEL_{place}" for place in range(len(names))]:
        raise HarnessError(
            f"export: wanted the names of the classes in the model's config; got {', '.join(names)}; "
            f"set id2label"
        )
    kinds = {str(one.dtype).removeprefix("torch.") for one in model.parameters()}
    if kinds != {"float32"}:
        raise HarnessError(
            f"export: wanted float32 weights; got {', '.join(sorted(kinds))}; call model.float()"
        )
    return head
