"""A language's text for an export: the task that scores the copies, and lines to calibrate with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.examples import Absent, TaskData
from harness.data.sources import DataSource, open_task
from harness.deploy.calibration import encode_calibration, read_calibration_lines
from harness.errors import HarnessError
from harness.export.precisions import Calibration
from harness.export.source import ExportSource
from harness.precisions import PRECISIONS
from harness.tasks import TASKS

BUILTIN_SIZES = (160, 500, 500)
"""Examples of train, dev and test drawn from a built-in language, which has no end."""


@dataclass(frozen=True)
class EvaluationText:
    """A language's text.

    Attributes:
        language: its code.
        source: the data folder, or the built-in languages.
        scored: the task that scores the copies; None where the head has no score.
    """

    language: str
    source: DataSource
    scored: TaskData | None

    @property
    def origin(self) -> str | None:
        """Where the scored items come from, for the model card; None where nothing is scored."""
        if self.scored is None:
            return None
        return "a data folder" if isinstance(self.source, Path) else "the built-in language"

    def encode_calibration(self, source: ExportSource, length: int) -> Calibration:
        """Return lines of the language encoded for a model."""
        lines = read_calibration_lines(self.source, self.language)
        return encode_calibration(lines, source.tokenizer, length=length, inputs=source.inputs)


def read_evaluation_text(
    task: str, language: str, data: Path | None, *, strict: bool = False
) -> EvaluationText:
    """Read the task that scores the copies of an export.

    Args:
        task: of the model's head.
        language: code.
        data: the data folder; None takes the built-in languages.
        strict: whether data that has to be read otherwise than it is written is an error.

    Raises:
        UsageError: no such language.
        HarnessError: the source has no such task in that language.
    """
    source: DataSource = data or "builtin"
    if task not in TASKS:
        return EvaluationText(language, source, None)
    scored = open_task(source, task, language, (None, None, None) if data else BUILTIN_SIZES, strict=strict)
    if isinstance(scored, Absent):
        raise HarnessError(
            f"export: expected the task '{task}' in '{language}' to score copies on; got none, "
            f"since {scored.reason}; leave --lang out"
        )
    return EvaluationText(language, source, scored)


def needs_text(precisions: Sequence[str]) -> bool:
    """Return whether one of the precisions is calibrated on text."""
    return any(PRECISIONS[name].needs_text for name in precisions)
