"""The built-in labelled tasks: train and dev from the seen half of the words, test mostly from the rest."""

from __future__ import annotations

import random
from collections.abc import Callable

from harness.data.builtin.chance import choose, seed_random
from harness.data.builtin.grammar import Document, Grammar, Sentence, load_grammar
from harness.data.builtin.lexicon import NAME_TYPES, TOPICS
from harness.data.builtin.patterns import Pattern
from harness.data.examples import SPLITS, Example, TaskData, TextExample, TokenExample
from harness.errors import HarnessError, unknown
from harness.tasks import UPOS, find_task

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
    """Draw the task in that language.

    Invariants: no example occurs twice; labels of texts are balanced.

    Args:
        task: ``pos``, ``ner``, ``topic`` or ``sentiment``.
        language: a built-in language's code.
        sizes: how many examples train, dev and test have.
        seed: another seed draws other examples, of the same words.

    Raises:
        UsageError: there is no such task or language; the message lists those that exist.
        HarnessError: a part would have no example.
    """
    row = find_task(task)
    if task not in LABELS:
        raise unknown("built-in task", task, LABELS)
    if min(sizes) < 1:
        raise HarnessError(
            f"built-in {task}: expected at least one example a part; got {sizes}; raise the sizes"
        )
    grammar = load_grammar(language)
    drawn: set[Example] = set()
    parts: dict[str, tuple[Example, ...]] = {}
    for split, size in zip(SPLITS, sizes, strict=True):
        source = seed_random("task", task, language, split, seed)
        examples: list[Example] = []
        while len(examples) < size:
            example = _DRAWS[task](grammar, source, VIEWS[split], len(examples))
            if example not in drawn:
                drawn.add(example)
                examples.append(example)
        source.shuffle(examples)
        parts[split] = tuple(examples)
    return TaskData(row, language, LABELS[task], parts["train"], parts["dev"], parts["test"])


def _draw_pos(grammar: Grammar, source: random.Random, view: str, _: int) -> Example:
    made = _draw_sentence(
        grammar, source, grammar.draw_document(source, view), "pos", lambda pattern: pattern.topical > 0
    )
    return TokenExample(tuple(made.words), tuple(made.tags), made.text())


def _draw_ner(grammar: Grammar, source: random.Random, view: str, _: int) -> Example:
    made = _draw_sentence(
        grammar, source, grammar.draw_document(source, view), "ner", lambda pattern: pattern.names > 0
    )
    return TokenExample(tuple(made.words), tuple(made.entities), made.text())


def _draw_topic(grammar: Grammar, source: random.Random, view: str, place: int) -> Example:
    topic = TOPICS[place % len(TOPICS)]
    document = grammar.draw_document(source, view, topic=topic)
    return TextExample(
        _draw_text(grammar, source, document, "topic", lambda pattern: pattern.topical > 1), topic
    )


def _draw_sentiment(grammar: Grammar, source: random.Random, view: str, place: int) -> Example:
    polarity = SENTIMENTS[place % len(SENTIMENTS)]
    document = grammar.draw_document(source, view, polarity=polarity)
    return TextExample(
        _draw_text(grammar, source, document, "sentiment", lambda pattern: pattern.polar), polarity
    )


_DRAWS: dict[str, Draw] = {
    "pos": _draw_pos,
    "ner": _draw_ner,
    "topic": _draw_topic,
    "sentiment": _draw_sentiment,
}


def _draw_text(
    grammar: Grammar, source: random.Random, document: Document, task: str, fits: Callable[[Pattern], bool]
) -> str:
    """Draw one to three sentences whose patterns fit."""
    length = choose(source, range(1, LONGEST_TEXT + 1))
    return " ".join(_draw_sentence(grammar, source, document, task, fits).text() for _ in range(length))


def _draw_sentence(
    grammar: Grammar, source: random.Random, document: Document, task: str, fits: Callable[[Pattern], bool]
) -> Sentence:
    patterns = grammar.lists if source.random() < LIST_FRACTIONS[task] else grammar.patterns
    pattern = choose(source, patterns)
    while not fits(pattern):
        pattern = choose(source, patterns)
    return grammar.draw_sentence(source, document, pattern)
