"""Report the optimiser steps of all fine-tunings of a stage as one count."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from harness.train.trainer import Progress


class StepCount(TrainerCallback):  # type: ignore[misc]
    """Counts the steps of one training after another; one that ends early counts whole.

    Attributes:
        progress: called after each step.
        planned: steps of all trainings, if none is repeated.
        finished: steps of the finished trainings.
    """

    def __init__(self, progress: Progress, planned: int) -> None:
        self.progress = progress
        self.planned = planned
        self.go_on_from(0)

    def go_on_from(self, finished: int) -> None:
        """Set how many steps the finished trainings had."""
        self.finished = finished
        self._report(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Report after every optimiser step."""
        self._report(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Count the training."""
        self.go_on_from(self.finished + state.max_steps)

    def _report(self, steps: int) -> None:
        """Report the steps of the finished trainings and of the running one."""
        done = self.finished + steps
        self.progress(done, max(self.planned, done), "steps", {})
