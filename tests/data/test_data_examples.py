"""Tasks: the table, and smaller versions of them."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.data.examples import (
    TaskData,
    TextExample,
    TokenExample,
    assemble,
    count_leakage,
    count_repeats,
    limit,
)
from harness.errors import HarnessError, UsageError
from harness.tasks import TASKS, find_task

PLACES = {"train": "a", "dev": "b", "test": "c"}


def topics() -> TaskData:
    texts = [TextExample(f"text {number}", "abbccc"[number % 6]) for number in range(600)]
    return assemble(TASKS["topic"], "mt", {"train": texts, "dev": texts[:60], "test": texts[:120]}, PLACES)


def tags() -> TaskData:
    sentences = [TokenExample((f"w{number}",), ("NOUN",)) for number in range(100)]
    return assemble(TASKS["pos"], "mt", {"train": sentences, "dev": sentences, "test": sentences}, PLACES)


def test_the_label_set_is_the_standards_or_that_of_training_sorted() -> None:
    assert topics().labels == ("a", "b", "c")
    assert len(tags().labels) == 17


def test_limits_are_kept_exactly_and_labels_keep_their_shares() -> None:
    small = limit(topics(), train=61, dev=10, test=5, seed=1)
    assert (len(small.train), len(small.dev), len(small.test)) == (61, 10, 5)
    count = Counter(label for one in small.train for label in one.labels)
    assert all(abs(count[label] - 61 * share / 6) < 1 for label, share in zip("abc", (1, 2, 3), strict=True))
    assert small.labels == topics().labels


def test_limits_depend_on_the_seed_alone_and_keep_the_order() -> None:
    data = topics()
    assert limit(data, 50, seed=1) == limit(data, 50, seed=1) != limit(data, 50, seed=2)
    kept = limit(data, 50, seed=1).train
    assert list(kept) == [one for one in data.train if one in kept]
    assert limit(data) == limit(data, 600, 60, 120) == data


def test_sentences_of_a_smaller_limit_are_among_those_of_a_larger() -> None:
    assert set(limit(tags(), 10).train) < set(limit(tags(), 30).train)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(HarnessError, match="limit: expected at least one example a part; got 0"):
        limit(topics(), train=0)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UsageError, match=f"unknown task 'parsing'; there are: {', '.join(TASKS)}"):
        find_task("parsing")


def test_items_of_two_parts_are_counted_whatever_their_case_and_spaces() -> None:
    parts = {
        "train": [TextExample("Il-qattus", "a"), TextExample("Il-kelb", "b")],
        "dev": [TextExample("il-QATTUS ", "a"), TextExample("Id-dar", "b")],
        "test": [TextExample("Id-dar", "a"), TextExample("Il-kelb", "a"), TextExample("Il-baħar", "b")],
    }
    assert count_leakage(assemble(TASKS["topic"], "mt", parts, PLACES)) == {"dev": 1, "test": 2}


def test_a_pair_leaks_only_where_both_its_texts_do() -> None:
    parts = {
        split: [TextExample("Raqad.", "x", second)]
        for split, second in zip(PLACES, ("a", "b", "a"), strict=True)
    }
    assert count_leakage(assemble(TASKS["nli"], "mt", parts, PLACES)) == {"dev": 0, "test": 1}


def test_duplicates_and_contradictions_are_counted_by_part() -> None:
    parts = {
        "train": [
            TextExample("A b", "x"),
            TextExample("a  B", "y"),
            TextExample("a b", "x"),
            TextExample("c", "x"),
        ],
        "dev": [TextExample("d", "x"), TextExample("d", "x")],
        "test": [TextExample("A b", "y"), TextExample("c", "y")],
    }
    data = assemble(TASKS["topic"], "mt", parts, PLACES)
    assert {part: count_repeats(data, part) for part in PLACES} == {
        "train": (2, 3),
        "dev": (1, 0),
        "test": (0, 0),
    }


def test_sentences_with_other_tags_contradict() -> None:
    tags = (("B-X",), ("O",))
    sentences = [TokenExample(("Ana",), one) for one in tags]
    data = assemble(TASKS["ner"], "mt", dict.fromkeys(PLACES, sentences), PLACES)
    assert count_repeats(data, "test") == (1, 2)
