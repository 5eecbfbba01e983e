"""Choose a learning rate on dev, and repeat fine-tunings that collapsed at a lower rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.train.finetuning.finetune import FinetunedModel
from harness.train.finetuning.prediction import Labels
from harness.train.trainer import DivergedError

Problem = Literal["non-finite loss", "constant predictions", "below the majority label"]

DIVERGED: Problem = "non-finite loss"
MOST_REPEATS = 2
LOWER = 0.25
"""The factor from a rate at which a fine-tuning collapsed to that of its repeat."""


@dataclass(frozen=True)
class Attempt:
    """One fine-tuning of a seed.

    Attributes:
        learning_rate: peak rate.
        dev_score: the highest score on dev; None where the loss was not finite.
        problem: why the fine-tuning counts as collapsed; None if it does not.
    """

    learning_rate: float
    dev_score: float | None
    problem: Problem | None

    @property
    def rank(self) -> tuple[bool, float]:
        """Sorts attempts: sound before collapsed, then by the score on dev."""
        return self.problem is None, -1.0 if self.dev_score is None else self.dev_score


@dataclass(frozen=True)
class Selection:
    """The attempt that was kept, and all attempts in order.

    Attributes:
        model: of the kept attempt; None where no attempt had a finite loss.
        kept: the kept attempt.
        attempts: every attempt.
    """

    model: FinetunedModel | None
    kept: Attempt
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class DevPart:
    """What a fine-tuning must reach on dev.

    Attributes:
        varied: whether dev has examples of more than one label.
        majority_score: score of the training part's most frequent label on dev.
    """

    varied: bool
    majority_score: float

    def find_problem(self, predictions: Labels, score: float) -> Problem | None:
        """Return why predictions on dev count as collapsed, if they do."""
        if self.varied and len(_collect_labels(predictions)) == 1:
            return "constant predictions"
        return "below the majority label" if score < self.majority_score else None


def _collect_labels(predictions: Labels) -> set[str]:
    labels: set[str] = set()
    for prediction in predictions:
        labels.update([prediction] if isinstance(prediction, str) else prediction)
    return labels


def select_finetuning(
    finetune: Callable[[float], FinetunedModel],
    learning_rates: Sequence[float],
    dev: DevPart,
    *,
    selection: Selection | None = None,
    keep: Callable[[Selection], None] = lambda _: None,
) -> Selection:
    """Fine-tune at every rate and keep the best on dev; if all collapsed, repeat at lower rates.

    Invariants: of equal scores the first rate is kept; there are at most `MOST_REPEATS` repeats. A selection
    that was stopped and goes on from its last attempt ends as one that was not stopped.

    Args:
        finetune: fine-tunes at a rate, always with the same seed.
        learning_rates: rates to choose from; one or more.
        dev: what a fine-tuning must reach.
        selection: the attempts of a selection that was stopped.
        keep: called after each attempt.
    """
    if selection is None:
        selection = _add_attempt(None, finetune, learning_rates[0], dev)
        keep(selection)
    while (rate := _choose_next_rate(selection, learning_rates)) is not None:
        selection = _add_attempt(selection, finetune, rate, dev)
        keep(selection)
    return selection


def _choose_next_rate(selection: Selection, learning_rates: Sequence[float]) -> float | None:
    """Return the rate of the next attempt; None if there is none."""
    num_tried = len(selection.attempts)
    if num_tried < len(learning_rates):
        return learning_rates[num_tried]
    if selection.kept.problem is None or num_tried == len(learning_rates) + MOST_REPEATS:
        return None
    return LOWER * min(attempt.learning_rate for attempt in selection.attempts)


def _add_attempt(
    earlier: Selection | None, finetune: Callable[[float], FinetunedModel], rate: float, dev: DevPart
) -> Selection:
    attempt, model = _try_rate(finetune, rate, dev)
    attempts = (*(earlier.attempts if earlier else ()), attempt)
    if earlier is not None and attempt.rank <= earlier.kept.rank:
        return Selection(earlier.model, earlier.kept, attempts)
    return Selection(model, attempt, attempts)


def _try_rate(
    finetune: Callable[[float], FinetunedModel], rate: float, dev: DevPart
) -> tuple[Attempt, FinetunedModel | None]:
    try:
        model = finetune(rate)
    except DivergedError:
        return Attempt(rate, None, DIVERGED), None
    problem = dev.find_problem(model.dev_predictions, model.best_score)
    return Attempt(rate, model.best_score, problem), model
