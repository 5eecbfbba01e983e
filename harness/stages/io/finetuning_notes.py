"""Remarks on fine-tunings: repeated and dropped seeds, chosen learning rates, unbalanced labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.stages.io.facts import AttemptFacts, FinetunedScoresFacts, MajorityFacts

UNBALANCED = 0.8
"""Share of the training labels from which on the most frequent label is worth a note."""


def describe_imbalance(majority: MajorityFacts) -> str | None:
    """Return a note on a task of which most training labels are the same; None for other tasks."""
    if majority.train_fraction < UNBALANCED:
        return None
    return f"{100 * majority.train_fraction:.0f} % of the training labels are '{majority.label}'"


def describe_finetunings(scores: FinetunedScoresFacts) -> Iterator[str]:
    """Return a note for each seed that was repeated, kept although collapsed, or dropped, or chose a rate.

    The first note is about text that the model learned from before the task's examples.
    """
    if scores.text is not None:
        yield f"learned from {scores.text.lines:,} lines of text that its teacher labelled"
    for seed, attempts in scores.dropped.items():
        yield f"seed {seed} was dropped: {_list_problems(attempts)}"
    for seed, facts in scores.seeds.items():
        kept = next(one for one in facts.attempts if one.learning_rate == facts.learning_rate)
        sound = [one.learning_rate for one in facts.attempts if one.problem is None]
        collapsed = [one for one in facts.attempts if one.problem is not None]
        if kept.problem is not None:
            yield f"seed {seed} has {kept.problem} on dev, the best of: {_list_problems(collapsed)}"
        elif collapsed:
            yield f"seed {seed} was kept at a rate of {kept.learning_rate:g}: {_list_problems(collapsed)}"
        elif len(sound) > 1:
            rates = ", ".join(f"{rate:g}" for rate in sound)
            yield f"learning rate {kept.learning_rate:g}, chosen on dev of {rates}"
        if facts.fitting_tokens is not None:
            yield f"seed {seed}: {describe_fitting(facts.fitting_tokens)}"


def describe_fitting(tokens: int) -> str:
    """Return a note on batches that did not fit into the memory."""
    return f"no memory for a whole batch; {tokens:,} tokens at most went through the model at once"


def _list_problems(attempts: Sequence[AttemptFacts]) -> str:
    return ", ".join(f"{attempt.problem} at {attempt.learning_rate:g}" for attempt in attempts)
