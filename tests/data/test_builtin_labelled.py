from __future__ import annotations

import functools
import re
from collections import Counter

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from harness.data.builtin import LANGUAGES, TASKS, read_task
from harness.data.builtin.lexicon import KINDS, load_lexicon
from harness.errors import HarnessError, UsageError
from harness.tasks import UPOS

SIZES = (300, 60, 400)


@functools.cache
def _task(task, language):
    return read_task(task, language, SIZES, 0)


def _tokens(text):
    return re.findall(r"[\w\u0900-\u097f]+", text.lower())


@functools.cache
def _groups(language):
    """Token → the groups it belongs to, from the whole lexicon."""
    groups = {}
    for kind in KINDS:
        for group, words in load_lexicon(language).words[kind].items():
            for token in {token for word in words for form in word.forms for token in form}:
                for piece in _tokens(token):
                    groups.setdefault(piece, set()).add(group)
    return groups


@functools.cache
def _seen(language):
    """Every token of a content word → whether training sets may hold it."""
    seen: dict[str, bool] = {}
    for kind in KINDS:
        for words in load_lexicon(language).words[kind].values():
            for word in words:
                for token in {token.lower() for form in word.forms for token in form}:
                    seen[token] = seen.get(token, False) or word.seen
    return seen


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_sizes_labels_and_no_example_twice(task, language):
    data = _task(task, language)
    assert (len(data.train), len(data.dev), len(data.test)) == SIZES
    assert len({*data.train, *data.dev, *data.test}) == sum(SIZES)
    assert list(data.labels) == sorted(data.labels)
    assert {label for one in (*data.train, *data.dev, *data.test) for label in one.labels} <= set(data.labels)
    assert len(data.labels) == {"pos": len(UPOS), "ner": 7, "topic": 6, "sentiment": 2}[task]


def test_a_part_without_examples_is_refused():
    message = r"built-in pos: expected at least one example a part; got \(5, 0, 5\); raise the sizes"
    with pytest.raises(HarnessError, match=message):
        read_task("pos", "mt", (5, 0, 5), 0)


def test_examples_depend_on_the_seed():
    assert read_task("topic", "mt", (20, 5, 20), 1) == read_task("topic", "mt", (20, 5, 20), 1)
    assert read_task("topic", "mt", (20, 5, 20), 1) != read_task("topic", "mt", (20, 5, 20), 2)


def test_unknown_task_is_refused():
    with pytest.raises(UsageError, match=f"unknown built-in task 'nli'; there are: {', '.join(TASKS)}"):
        read_task("nli", "mt", SIZES, 0)


@pytest.mark.parametrize("task", ["topic", "sentiment"])
def test_labels_are_even(task):
    for part in (_task(task, "mt").train, _task(task, "mt").test):
        counts = Counter(example.label for example in part).values()
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_iob2_is_valid_and_every_type_occurs(language):
    for part in (_task("ner", language).train, _task("ner", language).test):
        for example in part:
            assert len(example.words) == len(example.labels)
            assert any(label != "O" for label in example.labels)
            for before, label in zip(("O", *example.labels), example.labels, strict=False):
                assert label[0] != "I" or before[1:] == label[1:], example
        counts = Counter(label[2:] for example in part for label in example.labels if label[0] == "B")
        assert min(counts[kind] for kind in ("PER", "LOC", "ORG")) >= 0.2 * counts.total()


@pytest.mark.parametrize("language", LANGUAGES)
def test_most_content_words_of_test_are_in_no_training_example(language):
    data = _task("pos", language)
    seen = _seen(language)
    content = {"NOUN", "VERB", "ADJ", "ADV"}

    def unseen_fraction(part):
        words = [
            word.lower()
            for one in part
            for word, tag in zip(one.words, one.labels, strict=True)
            if tag in content and word.lower() in seen
        ]
        return sum(not seen[word] for word in words) / len(words)

    # a pattern's own words may be words of the lexicon too
    assert unseen_fraction(data.train) <= 0.02
    assert unseen_fraction(data.dev) <= 0.02
    assert unseen_fraction(data.test) >= 0.5


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("task", "known", "gap"), [("topic", 0.88, 0.25), ("sentiment", 0.85, 0.12)])
def test_knowing_which_words_go_together_decides_the_score(task, known, gap, language):
    data = _task(task, language)
    groups = _groups(language)

    def best(text):
        votes = Counter(group for token in _tokens(text) for group in groups.get(token, ()))
        return max(data.labels, key=lambda label: votes[label])

    with_lexicon = sum(best(one.text) == one.label for one in data.test) / len(data.test)
    bag = CountVectorizer(tokenizer=_tokens, token_pattern=None)
    counts = bag.fit_transform([one.text for one in data.train])
    linear = LogisticRegression(max_iter=500).fit(counts, [one.label for one in data.train])
    alone = linear.score(bag.transform([one.text for one in data.test]), [one.label for one in data.test])
    assert with_lexicon >= known
    assert with_lexicon - alone >= gap, f"{with_lexicon:.3f} with the lexicon, {alone:.3f} without"
    assert alone > 1 / len(data.labels)
