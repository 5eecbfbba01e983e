from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

from harness.errors import HarnessError, UsageError
from harness.measure.scores import METRICS, find_most_frequent, predict_most_frequent, score, tally
from harness.measure.spans import find_spans

UPOS = ["NOUN", "VERB", "ADJ", "DET", "PUNCT"]


def random_iob2(generator: random.Random, length: int, *, strict: bool) -> list[str]:
    tags: list[str] = []
    for _ in range(length):
        before = tags[-1] if tags else "O"
        options = ["O", "B-PER", "B-LOC", "B-ORG"] + ([f"I-{before[2:]}"] * 3 if before != "O" else [])
        tags.append(generator.choice(options if strict else [*options, "I-PER", "I-LOC"]))
    return tags


def test_spans_by_hand():
    assert find_spans(["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"]) == {
        ("PER", 0, 2),
        ("LOC", 3, 4),
        ("LOC", 4, 6),
    }
    assert find_spans(["I-PER", "I-LOC", "O", "I-LOC"]) == {("PER", 0, 1), ("LOC", 1, 2), ("LOC", 3, 4)}
    assert find_spans(["B-a-b", "I-a-b"]) == {("a-b", 0, 2)}
    assert find_spans([]) == set()


@pytest.mark.parametrize("tag", ["PER", "E-PER", "B-", "", "O-PER", "I"])
def test_a_tag_that_is_not_iob2_is_refused(tag: str):
    with pytest.raises(HarnessError, match=f"expected an IOB2 tag as O, B-PER or I-PER; got '{tag}'"):
        find_spans(["O", tag])


@pytest.mark.parametrize("strict", [True, False])
def test_span_f1_agrees_with_seqeval(strict: bool):
    seqeval = pytest.importorskip("seqeval.metrics")
    generator = random.Random(7)
    for _ in range(30):
        lengths = [generator.randint(1, 12) for _ in range(5)]
        gold = [random_iob2(generator, length, strict=True) for length in lengths]
        predicted = [random_iob2(generator, length, strict=strict) for length in lengths]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = seqeval.f1_score(gold, predicted, zero_division=0)
        assert score("span_f1", gold, predicted) == pytest.approx(expected, abs=1e-12)


def test_macro_f1_and_accuracy_agree_with_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(3)
    for _ in range(40):
        gold = [generator.choice(UPOS[: generator.randint(1, 5)]) for _ in range(30)]
        predicted = [generator.choice(UPOS) for _ in range(30)]
        expected = metrics.f1_score(gold, predicted, average="macro", zero_division=0)
        assert score("macro_f1", gold, predicted) == pytest.approx(expected, abs=1e-12)
        assert score("accuracy", gold, predicted) == pytest.approx(metrics.accuracy_score(gold, predicted))


def test_token_tasks_are_scored_per_word():
    gold = [["NOUN", "VERB", "DET"], ["NOUN"]]
    predicted = [["NOUN", "VERB", "NOUN"], ["VERB"]]
    assert score("accuracy", gold, predicted) == 0.5
    flat_gold, flat_predicted = [w for s in gold for w in s], [w for s in predicted for w in s]
    assert score("macro_f1", gold, predicted) == score("macro_f1", flat_gold, flat_predicted)


@pytest.mark.parametrize("metric", sorted({*METRICS} - {"seqeval_f1"}))
def test_replicates_equal_the_scores_of_resamples(metric: str):
    generator = random.Random(1)
    gold = [random_iob2(generator, 6, strict=True) for _ in range(25)]
    predicted = [random_iob2(generator, 6, strict=True) for _ in range(25)]
    one = tally(metric, gold, predicted)
    assert one.interval(seed=4) == one.interval(seed=4)
    assert one.interval(seed=4) != one.interval(seed=5)
    interval = one.interval()
    assert interval.low <= interval.value <= interval.high
    drawn = np.random.default_rng(0).multinomial(25, [1 / 25] * 25)
    again = [item for item, times in enumerate(drawn) for _ in range(times)]
    resampled = score(metric, [gold[i] for i in again], [predicted[i] for i in again])
    assert float(one.finish(drawn @ one.counts_NK)) == pytest.approx(resampled, abs=1e-12)


def test_the_interval_covers_the_truth_as_often_as_its_level():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(120):
        right = generator.random(150) < 0.8
        interval = tally("accuracy", ["a"] * 150, ["a" if one else "b" for one in right]).interval(seed=trial)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.9 <= covered / 120 <= 0.99


def test_perfect_and_hopeless():
    assert score("macro_f1", ["a", "b"], ["a", "b"]) == 1
    assert score("macro_f1", ["a", "b"], ["b", "a"]) == 0
    assert score("span_f1", [["O", "O"]], [["O", "O"]]) == 0


@pytest.mark.parametrize(("gold", "predicted"), [([], []), (["a"], []), ([["a", "b"]], [["a"]])])
def test_predictions_that_do_not_match_the_items_are_refused(gold, predicted):
    with pytest.raises(HarnessError, match="scores: expected a label for each of"):
        score("accuracy", gold, predicted)


def test_an_unknown_metric_lists_the_metrics():
    with pytest.raises(UsageError, match="unknown metric 'f1'; there are: accuracy, macro_f1, span_f1"):
        score("f1", ["a"], ["a"])


def test_majority_baseline():
    assert find_most_frequent(["b", "a", "b"]) == "b"
    assert find_most_frequent(["b", "a"]) == "a"
    assert predict_most_frequent(["b", "a", "b"], ["a", "a"]) == ["b", "b"]
    sentences = [["NOUN", "VERB"], ["NOUN"]]
    assert predict_most_frequent(sentences, [["VERB", "VERB"]]) == [["NOUN", "NOUN"]]
    with pytest.raises(HarnessError, match="expected training labels for the majority baseline; got none"):
        find_most_frequent([])


def test_seqeval_f1_is_seqevals_own_on_part_of_speech_tags():
    seqeval = pytest.importorskip("seqeval.metrics")
    generator = random.Random(17)
    for _ in range(30):
        lengths = [generator.randint(1, 12) for _ in range(5)]
        gold, predicted = ([generator.choices(UPOS, k=length) for length in lengths] for _ in "gs")
        predicted = [
            [generator.choice(pair) for pair in zip(*both, strict=True)]
            for both in zip(gold, predicted, strict=True)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = seqeval.f1_score(gold, predicted, zero_division=0)
        assert score("seqeval_f1", gold, predicted) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("gold", "predicted", "accuracy", "faulty"),
    [
        ("NOUN NOUN NOUN VERB", "NOUN NOUN VERB VERB", 3 / 4, 0.0),  # two spans each, none with the same ends
        ("CCONJ NOUN", "SCONJ NOUN", 1 / 2, 1.0),  # another tag of the same type
        ("SYM SYM", "SYM SYM", 1.0, 1.0),
        (
            "SYM SYM X",
            "SYM X X",
            2 / 3,
            2 / 5,
        ),  # S is a span of its own: three spans of which one is among two
    ],
)
def test_seqeval_f1_on_part_of_speech_tags_by_hand(gold, predicted, accuracy, faulty):
    one, other = [gold.split()], [predicted.split()]
    assert score("accuracy", one, other) == pytest.approx(accuracy)
    assert score("seqeval_f1", one, other) == pytest.approx(faulty)


def test_seqeval_f1_is_refused_for_tags_of_spans():
    with pytest.raises(
        HarnessError, match=r"expected tags of words, as NOUN; got 'B-PER'; score it by span_f1"
    ):
        score("seqeval_f1", [["B-PER", "O"]], [["O", "O"]])
