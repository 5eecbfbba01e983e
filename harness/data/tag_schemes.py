"""Tags of entities in any scheme (IOB1, IOB2, BIOES, BILOU), converted to IOB2 as conlleval reads them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.notes import Departure, ReadingNotes
from harness.errors import HarnessError

DOCSTART = "-DOCSTART-"
"""The word of lines that separate documents in CoNLL's files."""
_OPENS = {"B": True, "I": False, "E": False, "L": False, "S": True, "U": True}
"""Each prefix, and whether its tag always opens an entity."""
_GOES_ON = ("B", "I")
"""Prefixes after which the same entity can go on."""
_EXPECTED = "an IOB2 tag (O, B-X, or I-X within an entity)"


def is_tag(text: str) -> bool:
    """Return whether a text is a tag of one of the schemes."""
    prefix, _, name = text.strip().partition("-")
    return text.strip() == "O" or (prefix in _OPENS and bool(name))


def convert_to_iob2(tags: Sequence[str], places: Sequence[str], notes: ReadingNotes) -> tuple[str, ...]:
    """Return the tags of one sentence in IOB2.

    A tag opens an entity where its prefix says so, where its type is not that of the tag before, and where
    the entity before has ended. The prefix of the tag before, as written, is enough to tell: no scheme has to
    be guessed.

    Args:
        tags: as written, without white space around them.
        places: where each tag was read, for messages.
        notes: each tag that is not IOB2 at its place is noted.

    Raises:
        HarnessError: a tag is of no scheme, or is not IOB2 at its place and the notes are strict.
    """
    converted: list[str] = []
    before, before_type = "O", ""
    for tag, place in zip(tags, places, strict=True):
        prefix, _, name = tag.partition("-")
        got = f"'{tag}' " + (
            f"after '{tags[len(converted) - 1]}'" if converted else "at the start of a sentence"
        )
        if not is_tag(tag):
            raise HarnessError(f"{place}: expected {_EXPECTED}; got {got}; correct the line")
        follows = name == before_type and before in _GOES_ON
        if tag == "O":
            converted.append(tag)
        else:
            converted.append(f"{'B' if _OPENS[prefix] or not follows else 'I'}-{name}")
            if prefix == "I" and not follows:
                notes.add(Departure.OPENING, place, _EXPECTED, got)
            elif prefix not in _GOES_ON:
                notes.add(Departure.BIOES, place, _EXPECTED, got)
            elif prefix == "B" and not follows:
                notes.begins_in_iob2 = True
        before, before_type = prefix, name
    return tuple(converted)
