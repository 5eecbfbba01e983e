"""The learning rate is chosen on dev, and a collapsed fine-tuning is repeated at a lower rate."""

from __future__ import annotations

import pytest

from harness.train.finetuning.finetune import FinetunedModel
from harness.train.finetuning.rate_selection import Attempt, DevPart, select_finetuning
from harness.train.trainer import DivergedError

DEV = DevPart(varied=True, majority_score=0.3)
CONSTANT, VARIED = ["a", "a"], ["a", "b"]


@pytest.fixture
def finetune():
    """Return a function that plays given results by learning rate, and the rates it was called with."""

    def play(results):
        rates = []

        def finetune(rate):
            rates.append(rate)
            result = results[rate]
            if result is None:
                raise DivergedError("nan")
            score, predictions = result
            return FinetunedModel(f"model {rate:g}", predictions, [0.0, score], 2, 1)

        return finetune, rates

    return play


def test_the_best_rate_on_dev_is_kept(finetune):
    play, rates = finetune({4e-4: (0.5, VARIED), 2e-4: (0.7, VARIED), 1e-4: (0.7, VARIED)})
    selection = select_finetuning(play, [4e-4, 2e-4, 1e-4], DEV)
    assert rates == [4e-4, 2e-4, 1e-4]
    assert selection.model.model == "model 0.0002"
    assert selection.kept == Attempt(2e-4, 0.7, None)
    assert [attempt.dev_score for attempt in selection.attempts] == [0.5, 0.7, 0.7]


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ((0.9, CONSTANT), "constant predictions"),
        ((0.2, VARIED), "below the majority label"),
        (None, "non-finite loss"),
    ],
)
def test_a_collapsed_finetuning_is_repeated_at_a_quarter_of_the_rate(result, problem, finetune):
    play, rates = finetune({4e-4: result, 1e-4: (0.5, VARIED)})
    selection = select_finetuning(play, [4e-4], DEV)
    assert rates == [4e-4, 1e-4]
    assert [attempt.problem for attempt in selection.attempts] == [problem, None]
    assert selection.kept == Attempt(1e-4, 0.5, None)


def test_a_sound_rate_is_preferred_to_a_collapsed_rate(finetune):
    play, rates = finetune({4e-4: (0.9, CONSTANT), 1e-4: (0.4, VARIED)})
    assert select_finetuning(play, [4e-4, 1e-4], DEV).kept.learning_rate == 1e-4
    assert rates == [4e-4, 1e-4], "no repeat where one of the rates is sound"


def test_the_best_of_collapsed_attempts_is_kept_after_two_repeats(finetune):
    play, rates = finetune({4e-4: (0.1, VARIED), 1e-4: (0.2, VARIED), 2.5e-5: (0.1, CONSTANT)})
    selection = select_finetuning(play, [4e-4], DEV)
    assert rates == [4e-4, 1e-4, 2.5e-5]
    assert selection.kept == Attempt(1e-4, 0.2, "below the majority label")


def test_no_model_is_kept_where_every_attempt_diverged(finetune):
    play, _ = finetune({4e-4: None, 1e-4: None, 2.5e-5: None})
    selection = select_finetuning(play, [4e-4], DEV)
    assert selection.model is None
    assert [attempt.dev_score for attempt in selection.attempts] == [None] * 3


def test_constant_predictions_are_sound_where_dev_has_one_label():
    assert DevPart(varied=False, majority_score=1.0).find_problem(CONSTANT, 1.0) is None


def test_constant_tags_count_as_collapsed():
    assert DEV.find_problem([["O", "O"], ["O"]], 0.9) == "constant predictions"
    assert DEV.find_problem([["O", "B-PER"], ["O"]], 0.9) is None
