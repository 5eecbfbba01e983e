"""Predictions of taggers in the forms that the official scorers read: CoNLL and CoNLL-U."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def format_conll(words: Sequence[Sequence[str]], gold: Sequence[Any], predicted: Sequence[Any]) -> str:
    """Return sentences as ``conlleval`` reads them: a word, its tag and the predicted tag on each line."""
    blocks = []
    for sentence, tags, guesses in zip(words, gold, predicted, strict=True):
        lines = zip(sentence, tags, guesses, strict=True)
        blocks.append("".join(f"{word} {tag} {guess}\n" for word, tag, guess in lines))
    return "\n".join(blocks)


def format_conllu(words: Sequence[Sequence[str]], tags: Sequence[Any]) -> str:
    """Return sentences as ``conll18_ud_eval`` reads them, with the tags in the column UPOS.

    Heads are not predicted here: each word hangs on the one before it, so that the file is valid.
    """
    blocks = []
    for sentence, row in zip(words, tags, strict=True):
        lines = [
            f"{number}\t{word}\t_\t{tag}\t_\t_\t{number - 1}\t{'root' if number == 1 else 'dep'}\t_\t_\n"
            for number, (word, tag) in enumerate(zip(sentence, row, strict=True), start=1)
        ]
        blocks.append("".join([*lines, "\n"]))
    return "".join(blocks)
