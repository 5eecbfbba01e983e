"""The built-in labelled tasks: train and dev from the seen half of the words, test mostly from the other."""

from __future__ import annotations

import random
from collections.abc import Callable

from harness.data.builtin.chance import choose, drawer
from harness.data.builtin.grammar import Document, Grammar, Sentence, grammar
from harness.data.builtin.lexicon import NAME_TYPES, TOPICS
from harness.data.builtin.patterns import Pattern
from harness.data.examples import SPLITS, Example, TaskData, TextExample, TokenExample
from harness.errors import HarnessError, unknown
from harness.tasks import UPOS, task_named

VIEWS = {"train": "seen", "dev": "seen", "test": "unseen"}
SENTIMENTS = ("positive", "negative")
LABELS = {
    "pos": UPOS,
    "ner": (*sorted(f"{part}-{kind}" for part in "BI" for kind in NAME_TYPES), "O"),
    "topic": tuple(sorted(TOPICS)),
    "sentiment": tuple(sorted(SENTIMENTS)),
}
LONGEST_TEXT = 3
LIST_FRACTIONS = {"pos": 0.4, "ner": 0.4, "topic": 0.15, "sentiment": 0.15}

Draw = Callable[[Grammar, random.Random, str, int], Example]


def read_task(task: str, language: str, sizes: tuple[int, int, int], seed: int) -> TaskData:
    """Gives the task in that language; holds: no example stands twice; labels of texts are even.

    Args:
        task: ``pos``, ``ner``, ``topic`` or ``sentiment``.
        language: a built-in language's code.
        sizes: how many examples train, dev and test have.
        seed: another seed gives other examples, of the same words.

    Raises:
        UsageError: there is no such task or language; lists those there are.
        HarnessError: a part should have no example.
    """
    row = task_named(task)
    if task not in LABELS:
        raise unknown("built-in task", task, LABELS)
    if min(sizes) < 1:
        raise HarnessError(
            f"built-in {task}: wanted at least one example a part; got {sizes}; raise the sizes"
        )
    speech = grammar(language)
    found: set[Example] = set()
    parts: dict[str, tuple[Example, ...]] = {}
    for split, size in zip(SPLITS, sizes, strict=True):
        source = drawer("task", task, language, split, seed)
        examples: list[Example] = []
        while len(examples) < size:
            example = _DRAWS[task](speech, source, VIEWS[split], len(examples))
            if example not in found:
                found.add(example)
                examples.append(example)
        source.shuffle(examples)
        parts[split] = tuple(examples)
    return TaskData(row, language, LABELS[task], parts["train"], parts["dev"], parts["test"])


def _pos(speech: Grammar, source: random.Random, view: str, _: int) -> Example:
    made = _sentence(
        speech, source, speech.document(source, view), "pos", lambda pattern: pattern.topical > 0
    )
    return TokenExample(tuple(made.words), tuple(made.tags), made.text())


def _ner(speech: Grammar, source: random.Random, view: str, _: int) -> Example:
    made = _sentence(speech, source, speech.document(source, view), "ner", lambda pattern: pattern.names > 0)
    return TokenExample(tuple(made.words), tuple(made.entities), made.text())


def _topic(speech: Grammar, source: random.Random, view: str, place: int) -> Example:
    topic = TOPICS[place % len(TOPICS)]
    document = speech.document(source, view, topic=topic)
    return TextExample(_text(speech, source, document, "topic", lambda pattern: pattern.topical > 1), topic)


def _sentiment(speech: Grammar, source: random.Random, view: str, place: int) -> Example:
    polarity = SENTIMENTS[place % len(SENTIMENTS)]
    document = speech.document(source, view, polarity=polarity)
    return TextExample(_text(speech, source, document, "sentiment", lambda pattern: pattern.polar), polarity)


_DRAWS: dict[str, Draw] = {"pos": _pos, "ner": _ner, "topic": _topic, "sentiment": _sentiment}


def _text(
    speech: Grammar, source: random.Random, document: Document, task: str, fits: Callable[[Pattern], bool]
) -> str:
    """Gives one to three sentences whose patterns fit."""
    length = choose(source, range(1, LONGEST_TEXT + 1))
    return " ".join(_sentence(speech, source, document, task, fits).text() for _ in range(length))


def _sentence(
    speech: Grammar, source: random.Random, document: Document, task: str, fits: Callable[[Pattern], bool]
) -> Sentence:
    patterns = speech.lists if source.random() < LIST_FRACTIONS[task] else speech.patterns
    pattern = choose(source, patterns)
    while not fits(pattern):
        pattern = choose(source, patterns)
    return speech.sentence(source, document, pattern)
