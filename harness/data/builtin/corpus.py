"""The built-in corpus: documents of three to eight sentences that share a topic, a polarity and a cast."""

from __future__ import annotations

from collections.abc import Iterator

from harness.data.builtin.chance import choose, drawer
from harness.data.builtin.grammar import grammar

LIST_FRACTION = 0.15
SHORTEST, LONGEST = 3, 8


def read_corpus(language: str, lines: int, seed: int) -> Iterator[list[str]]:
    """Gives documents (lists of sentences) of ``lines`` sentences in all.

    Holds: the same arguments give the same documents, on any machine.

    Raises:
        UsageError: the language has no lexicon; lists those that have.
    """
    speech = grammar(language)
    source = drawer("corpus", language, seed)
    left = lines
    while left > 0:
        document = speech.document(source, "all")
        length = min(left, SHORTEST + int(source.random() * (LONGEST - SHORTEST + 1)))
        sentences = []
        for _ in range(length):
            patterns = speech.lists if source.random() < LIST_FRACTION else speech.patterns
            sentences.append(speech.sentence(source, document, choose(source, patterns)).text())
        left -= length
        yield sentences
