"""The rows of results about text: loss on held-out text, leakage, repeated texts, notes on labelled data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.report.values import Amount, Count, Key, ReportModel

TaskPart = Literal["train", "dev", "test"]
"""A part of a task."""


class HeldOut(ReportModel):
    """The masked-language loss of one model on text of the language that no step trained on.

    Attributes:
        loss: nats per masked token; compares models with one vocabulary.
        loss_per_byte: nats per byte of text, each token's loss spread over its bytes; compares models with
            different vocabularies.
        key: of the manifest of the stage that made the model.
    """

    model: str
    loss: Amount
    loss_per_byte: Amount
    key: Key


class Leakage(ReportModel):
    """The number of a task's items that are also in a part that models are trained on or chosen by.

    Attributes:
        dev: items of dev that are in train, of ``n_dev``.
        test: items of test that are in train or dev, of ``n_test``.
        key: of the manifest of the stage that read the tasks.
    """

    task: str
    dev: Count
    n_dev: Count
    test: Count
    n_test: Count
    key: Key


class Repeats(ReportModel):
    """The number of items of one part of a task that repeat a text of the part.

    Attributes:
        items: all items of the part.
        duplicates: items whose text an earlier item has.
        contradictions: items whose text has another label elsewhere in the part.
        key: of the manifest of the stage that read the tasks.
    """

    task: str
    part: TaskPart
    items: Count
    duplicates: Count
    contradictions: Count
    key: Key


class ReadingNote(ReportModel):
    """One remark about labelled data that was read otherwise than it is written, or could not be read.

    Attributes:
        key: of the manifest of the stage that read the data.
    """

    task: str
    note: Annotated[str, Field(min_length=1)]
    key: Key
