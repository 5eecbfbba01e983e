"""The built-in corpus: documents of three to eight sentences that share a topic, a polarity and a cast."""

from __future__ import annotations

from collections.abc import Iterator

from harness.data.builtin.chance import choose, seed_random
from harness.data.builtin.grammar import load_grammar

LIST_FRACTION = 0.15
SHORTEST, LONGEST = 3, 8


def read_corpus(language: str, lines: int, seed: int) -> Iterator[list[str]]:
    """Yield documents (lists of sentences) of ``lines`` sentences in all.

    Invariants: the same arguments return the same documents, on any machine.

    Raises:
        UsageError: the language has no lexicon; the message lists the languages.
    """
    grammar = load_grammar(language)
    source = seed_random("corpus", language, seed)
    left = lines
    while left > 0:
        document = grammar.draw_document(source, "all")
        length = min(left, SHORTEST + int(source.random() * (LONGEST - SHORTEST + 1)))
        sentences = []
        for _ in range(length):
            patterns = grammar.lists if source.random() < LIST_FRACTION else grammar.patterns
            sentences.append(grammar.draw_sentence(source, document, choose(source, patterns)).text())
        left -= length
        yield sentences
