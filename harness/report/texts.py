"""The rows of results about text: the loss on held-out text, and the leakage between parts of a task."""

from __future__ import annotations

from harness.report.values import Amount, Count, Key, ReportModel


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
