"""Notes on labelled data: where a reader departs from the file, counted by kind with the first place."""

from __future__ import annotations

import unicodedata
from collections import Counter
from enum import StrEnum

from harness.errors import HarnessError


class Departure(StrEnum):
    """A kind of departure from the file, in the words of its note."""

    OPENING = "tags I- that open an entity, read as B-"
    IOB1 = "tags in IOB1, converted to IOB2"
    BIOES = "tags in BIOES or BILOU, converted to IOB2"
    DOCUMENT = "lines -DOCSTART-, dropped"
    COMMENT = "comments, dropped"
    COLUMNS = "lines of more than two columns, read by the first and the last"
    SPACES = "lines with spaces between columns, read as if with tabs"
    MARGIN = "labels with white space around them, which was dropped"
    FORM = "labels that are not in NFC, normalised"


class ReadingNotes:
    """The departures of one task's readers.

    Attributes:
        strict: whether a departure is an error.
        begins_in_iob2: set where a tag B- opens an entity that IOB1 would open by I-.
    """

    def __init__(self, root: str = "", *, strict: bool = False) -> None:
        """Begin without notes; `root` is left out of the places in the notes."""
        self.strict = strict
        self.begins_in_iob2 = False
        self._root = root
        self._counts: Counter[Departure] = Counter()
        self._first: dict[Departure, str] = {}

    def add(self, departure: Departure, place: str, expected: str, got: str) -> None:
        """Count a departure.

        Raises:
            HarnessError: the notes are strict.
        """
        if self.strict:
            raise HarnessError(
                f"{place}: expected {expected}; got {got}; correct the line, or read without --strict-data"
            )
        self._counts[departure] += 1
        self._first.setdefault(departure, f"{got} at {place.removeprefix(self._root)}")

    def list_lines(self) -> tuple[str, ...]:
        """Return a line for each kind that occurred: how often, and where first."""
        return tuple(
            f"{self._name(kind)}: {self._counts[kind]}, the first {self._first[kind]}"
            for kind in Departure
            if self._counts[kind]
        )

    def _name(self, kind: Departure) -> Departure:
        """Return IOB1 for tags I- that open entities where all tags are as IOB1 has them."""
        mixed = self.begins_in_iob2 or self._counts[Departure.BIOES]
        return Departure.IOB1 if kind is Departure.OPENING and not mixed else kind


def clean_label(label: str, place: str, notes: ReadingNotes) -> str:
    """Return a label in NFC, without white space around it; note both."""
    bare = label.strip()
    if bare != label:
        notes.add(Departure.MARGIN, place, "a label without white space around it", repr(label))
    composed = unicodedata.normalize("NFC", bare)
    if composed != bare:
        notes.add(Departure.FORM, place, "a label in NFC", ascii(bare))
    return composed
