"""The remarks on fine-tunings: repeated, kept although collapsed, dropped, chosen, unbalanced."""

from __future__ import annotations

import pytest

from harness.stages.io.facts import (
    AttemptFacts,
    FinetunedScoresFacts,
    LabelledTextFacts,
    MajorityFacts,
    SeedFacts,
)
from harness.stages.io.finetuning_notes import describe_finetunings, describe_imbalance

CONSTANT, SOUND = "constant predictions", None


def describe(*attempts, kept=None, text=None):
    """Return the notes on one seed with these attempts: rate, score and problem; None dropped the seed."""
    facts = [
        AttemptFacts(learning_rate=rate, dev_score=score, problem=problem)
        for rate, score, problem in attempts
    ]
    seeds = {"seeds": {}, "dropped": {"1": facts}}
    if kept is not None:
        seed = SeedFacts(best_epoch=1, dev=[0.5], num_trained=9, learning_rate=kept, attempts=facts)
        seeds = {"seeds": {"1": seed}, "dropped": {}}
    majority = MajorityFacts(label="no", train_fraction=0.5, dev_score=0.3)
    scores = FinetunedScoresFacts(
        task="topic", n_test=9, by_seed=[1], signature="", metrics={}, majority=majority, text=text, **seeds
    )
    return list(describe_finetunings(scores))


@pytest.mark.parametrize(
    ("attempts", "kept", "note"),
    [
        ([(4e-4, 0.3, CONSTANT), (1e-4, 0.7, SOUND)], 1e-4,
         "seed 1 was kept at a rate of 0.0001: constant predictions at 0.0004"),
        ([(4e-4, 0.3, CONSTANT), (1e-4, 0.3, CONSTANT), (2.5e-5, None, "non-finite loss")], 4e-4,
         "seed 1 has constant predictions on dev, the best of: constant predictions at 0.0004, "
         "constant predictions at 0.0001, non-finite loss at 2.5e-05"),
        ([(4e-4, None, "non-finite loss")], None, "seed 1 was dropped: non-finite loss at 0.0004"),
        ([(4e-4, 0.6, SOUND), (1e-4, 0.7, SOUND)], 1e-4,
         "learning rate 0.0001, chosen on dev of 0.0004, 0.0001"),
    ],
)  # fmt: skip
def test_a_seed_that_did_not_go_as_planned_has_a_note(attempts, kept, note):
    assert describe(*attempts, kept=kept) == [note]


def test_a_plain_seed_has_no_note():
    assert describe((4e-4, 0.6, SOUND), kept=4e-4) == []


def test_text_that_a_teacher_labelled_has_a_note():
    text = LabelledTextFacts(lines=10000, tokens=300000, epochs=2, learning_rate=3e-4)
    notes = describe((4e-4, 0.6, SOUND), kept=4e-4, text=text)
    assert notes == ["learned from 10,000 lines of text that its teacher labelled"]


def test_a_task_of_mostly_one_label_has_a_note():
    majority = MajorityFacts(label="no", train_fraction=0.877, dev_score=0.467)
    assert describe_imbalance(majority) == "88 % of the training labels are 'no'"
    assert describe_imbalance(majority.model_copy(update={"train_fraction": 0.5})) is None
