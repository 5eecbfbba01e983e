"""Text drawn over all of Unicode, to try tokenizers on what no corpus has; equal seeds give equal text."""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

_UNASSIGNED = ("Cn", "Cs", "Co")
_AWKWARD = (
    *"\t\u0085\u00a0\u00ad\u0301\u0345\u0640\u1680\u200b\u200c\u200d\u200e\u2028\u2044\u2060\u3000\ufe0f\ufeff",
    *(
        "\ufffd",
        "\uff5e",
        "İ",
        "ß",
        "ﬁ",
        "½",
        "①",
        "▁",
        "#",
        "##",
        "</w>",
        "<0x41>",
        "e\u0301",
        "🦙",
        "👩\u200d🚀",
    ),
)
"""White space, marks and joiners that runtimes disagree on, and the markers of tokenizers as text."""

_NEIGHBOURS = 48
_SPACES = (" ", " ", " ", "  ", "\u00a0", " \t")


@cache
def list_characters() -> tuple[str, ...]:
    """Return every character that Unicode assigns, but surrogates and private use, by code point."""
    characters = map(chr, range(sys.maxunicode + 1))
    return tuple(one for one in characters if unicodedata.category(one) not in _UNASSIGNED)


def draw_texts(number: int, seed: int, familiar: Sequence[str] = ()) -> Iterator[str]:
    """Yield texts of a few words: of familiar pieces, of neighbours in one script, and of any character.

    Args:
        number: of texts.
        seed: of the draw.
        familiar: pieces of text that make up about half of the words, as a tokenizer's own; may be empty.
    """
    generator, characters = random.Random(seed), list_characters()
    for _ in range(number):
        words = [_draw_word(generator, characters, familiar) for _ in range(generator.randint(1, 6))]
        yield generator.choice(_SPACES).join(words)


def _draw_word(generator: random.Random, characters: Sequence[str], familiar: Sequence[str]) -> str:
    length = generator.randint(1, 7)
    if familiar and generator.random() < 0.6:
        pieces = generator.choices(familiar, k=length)
    else:
        start = generator.randrange(len(characters))
        pieces = generator.choices(characters[start : start + _NEIGHBOURS], k=length)
    if generator.random() < 0.25:
        strange = _AWKWARD if generator.random() < 0.7 else characters
        pieces.insert(generator.randint(0, length), generator.choice(strange))
    return "".join(pieces)
