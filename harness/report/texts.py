"""What a run says of texts: how well models fill in held-out ones, and how many stand in two parts."""

from __future__ import annotations

from harness.report.values import Amount, Count, Key, ReportModel


class HeldOut(ReportModel):
    """The masked-language loss of one model on text of the language that no step trained on.

    Attributes:
        loss: nats a masked token; compares models of one vocabulary.
        loss_per_byte: nats a byte of text, each token's loss spread over the bytes it stands for; compares
            models of different vocabularies.
        key: of the manifest of the stage that made the model.
    """

    model: str
    loss: Amount
    loss_per_byte: Amount
    key: Key


class Leakage(ReportModel):
    """How many items of a task stand in a part that a model learns or is chosen from.

    Attributes:
        dev: items of dev that stand in train, of ``n_dev``.
        test: items of test that stand in train or dev, of ``n_test``.
        key: of the manifest of the stage that read the tasks.
    """

    task: str
    dev: Count
    n_dev: Count
    test: Count
    n_test: Count
    key: Key
