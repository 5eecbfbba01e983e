"""The rows of results about fine-tunings that need a word: repeated, dropped, or on unbalanced labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.report.values import Key, ReportModel


class FinetuningNote(ReportModel):
    """One remark about the fine-tuning of a model on a task.

    Attributes:
        model: the id of the model; None where the remark is about the task, whatever the model.
        key: of the manifest of the stage that fine-tuned.
    """

    model: str | None
    task: str
    note: Annotated[str, Field(min_length=1)]
    key: Key
