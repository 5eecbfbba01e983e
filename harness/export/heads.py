"""What each task's model must look like to be exported, and what its graph gives back. One row a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError, unknown


@dataclass(frozen=True)
class Head:
    """The head of a task's model.

    Attributes:
        suffix: how the model's class name ends.
        output: name of the graph's output.
        axes: names of the output's dynamic axes; the last axis is fixed.
        labelled: whether the config must name the classes.
    """

    suffix: str
    output: str
    axes: Sequence[str]
    labelled: bool


_TOKEN = Head("ForTokenClassification", "logits", ("batch", "sequence"), labelled=True)
_SEQUENCE = Head("ForSequenceClassification", "logits", ("batch",), labelled=True)

HEADS: dict[str, Head] = {
    "pos": _TOKEN,
    "ner": _TOKEN,
    "topic": _SEQUENCE,
    "sentiment": _SEQUENCE,
    "news": _SEQUENCE,
    "hate": _SEQUENCE,
    "nli": _SEQUENCE,
    "mlm": Head("ForMaskedLM", "logits", ("batch", "sequence"), labelled=False),
    "encoder": Head("Model", "last_hidden_state", ("batch", "sequence"), labelled=False),
}


def head_of(model: Any, task: str) -> Head:
    """Gives the head a task's model must have, and checks that this model has it.

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
