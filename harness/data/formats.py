"""The three formats of labelled text: CoNLL-U, IOB2 columns, TSV.

A line that does not fit is named with its file and number. Every reader takes a path and notes, in which it
counts where it departs from the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from harness.data.examples import Example, TextExample, TokenExample
from harness.data.notes import Departure, ReadingNotes, clean_label
from harness.data.tag_schemes import DOCSTART, convert_to_iob2, is_tag
from harness.data.text import read_lines
from harness.errors import HarnessError
from harness.tasks import UPOS

Reader: TypeAlias = Callable[[Path, ReadingNotes], Iterator[Example]]

_CONLLU_COLUMNS = 10
_RANGE_OR_EMPTY = re.compile(r"\d+-\d+|\d+\.\d+")
_WRITTEN = "# text = "
_COMMENT = re.compile(r"# ?\w+ ?= ")
_IOB2_LINE = "a token, a tab and an IOB2 tag"
_TEXT = ("text", "label")
_PAIR = ("premise", "hypothesis", "label")


def _line_error(place: str, expected: str, got: str) -> HarnessError:
    return HarnessError(f"{place}: expected {expected}; got {got}; correct the line")


def read_conllu(path: Path, notes: ReadingNotes) -> Iterator[TokenExample]:
    """Yield sentences with their UPOS tags; skip multiword ranges (``1-2``) and empty nodes (``1.1``).

    Raises:
        HarnessError: a line without ten columns, an id that is no number, no word, or a tag that is not UPOS.
    """
    words: list[str] = []
    tags: list[str] = []
    written: str | None = None
    for number, line in _lines_and_end(path):
        if not line.strip():
            if words:
                yield TokenExample(tuple(words), tuple(tags), written)
            words, tags, written = [], [], None
        elif line.startswith("#"):
            written = line.removeprefix(_WRITTEN) if line.startswith(_WRITTEN) else written
        else:
            token = _conllu_token(path, number, line, notes)
            if token is not None:
                words.append(token[0])
                tags.append(token[1])


def _conllu_token(path: Path, number: int, line: str, notes: ReadingNotes) -> tuple[str, str] | None:
    columns = line.split("\t")
    if len(columns) != _CONLLU_COLUMNS:
        raise _line_error(
            f"{path}:{number}", f"{_CONLLU_COLUMNS} columns separated by tabs", f"{len(columns)}"
        )
    if _RANGE_OR_EMPTY.fullmatch(columns[0]):
        return None
    if not columns[0].isdecimal():
        raise _line_error(f"{path}:{number}", "a word number in column 1", f"'{columns[0]}'")
    if not columns[1].strip():
        raise _line_error(f"{path}:{number}", "a word in column 2", "nothing")
    tag = clean_label(columns[3], f"{path}:{number}", notes)
    if tag not in UPOS:
        raise _line_error(f"{path}:{number}", f"a UPOS tag in column 4 ({', '.join(UPOS)})", f"'{tag}'")
    return columns[1], tag


def read_iob2(path: Path, notes: ReadingNotes) -> Iterator[TokenExample]:
    """Yield sentences with their tags in IOB2.

    Noted, and an error where the notes are strict: tags of other schemes, which are converted; lines
    ``-DOCSTART-``, which end a sentence, and comments before a sentence, which are dropped; lines with more
    than two columns, of which the first and the last are read, or with spaces in place of tabs.

    Raises:
        HarnessError: a line without two columns, without a word, or with a tag of no scheme.
    """
    words: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    for number, line in _lines_and_end(path):
        place = f"{path}:{number}"
        starts_document = re.split("[\t ]", line, maxsplit=1)[0] == DOCSTART
        if starts_document:
            notes.add(Departure.DOCUMENT, place, _IOB2_LINE, _quote(line))
        if starts_document or not line.strip():
            if words:
                yield TokenExample(tuple(words), convert_to_iob2(tags, places, notes))
            words, tags, places = [], [], []
        elif not words and _is_comment(line):
            notes.add(Departure.COMMENT, place, _IOB2_LINE, _quote(line))
        else:
            word, tag = _iob2_token(place, line, notes)
            words.append(word)
            tags.append(tag)
            places.append(place)


def _is_comment(line: str) -> bool:
    """Return whether a line before a sentence is a comment (``# id 7``, ``# text = …``) and no word #."""
    last = re.split("\t" if "\t" in line else " ", line)[-1]
    return line.startswith("# ") and (not is_tag(last) or ("\t" not in line and bool(_COMMENT.match(line))))


def _iob2_token(place: str, line: str, notes: ReadingNotes) -> tuple[str, str]:
    """Return the word and the tag of a line."""
    columns = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
    while len(columns) > 2 and not columns[-1].strip():
        columns.pop()
    if len(columns) < 2 or not columns[0].strip():
        raise _line_error(place, _IOB2_LINE, _quote(line))
    if "\t" not in line:
        notes.add(Departure.SPACES, place, _IOB2_LINE, _quote(line))
    if len(columns) > 2:
        notes.add(Departure.COLUMNS, place, _IOB2_LINE, _quote(line))
    return columns[0], clean_label(columns[-1], place, notes)


def _quote(line: str) -> str:
    return f"'{line[:40]}'"


def read_tsv(path: Path, notes: ReadingNotes) -> Iterator[TextExample]:
    """Yield texts with their labels; a quotation mark is a letter like any other.

    Raises:
        HarnessError: the header is not ``text<TAB>label``, or a line lacks two columns, a text or a label.
    """
    for place, (text, label) in _columns(path, _TEXT):
        yield TextExample(text, clean_label(label, place, notes))


def read_pairs(path: Path, notes: ReadingNotes) -> Iterator[TextExample]:
    """Yield pairs of texts with their labels.

    Raises:
        HarnessError: the header is not ``premise<TAB>hypothesis<TAB>label``, or a line lacks one of them.
    """
    for place, (premise, hypothesis, label) in _columns(path, _PAIR):
        yield TextExample(premise, clean_label(label, place, notes), hypothesis)


def _columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the columns of each line after the header, no column empty."""
    number = {2: "two", 3: "three"}[len(names)]
    for place, line in ((f"{path}:{row}", line) for row, line in read_lines(path)):
        columns = line.split("\t")
        if place.endswith(":1"):
            if columns != list(names):
                raise _line_error(place, f"the header '{'<TAB>'.join(names)}'", f"'{line[:40]}'")
            continue
        if len(columns) != len(names):
            listed = " and ".join((", ".join(names[:-1]), names[-1]))
            raise _line_error(place, f"{number} columns, {listed}", f"{len(columns)}: '{line[:40]}'")
        for position, (name, column) in enumerate(zip(names, columns, strict=True), start=1):
            if not column.strip():
                raise _line_error(place, f"a {name} in column {position}", "nothing")
        yield place, columns


def _lines_and_end(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines and one more blank line, which ends the last sentence."""
    number = 0
    for number, line in read_lines(path):
        yield number, line
    yield number + 1, ""


READERS: dict[str, Reader] = {
    "conllu": read_conllu,
    "iob2": read_iob2,
    "texts": read_tsv,
    "pairs": read_pairs,
}
"""The reader of each format of ``harness.tasks``."""
