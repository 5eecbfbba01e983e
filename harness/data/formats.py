"""The three formats of labelled text: CoNLL-U, IOB2 columns, TSV.

A line that does not fit is named with its file and number. Every reader takes a path and a list, to which it
adds a note where it departs from the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from harness.data.examples import Example, TextExample, TokenExample
from harness.data.text import read_lines
from harness.errors import HarnessError
from harness.tasks import UPOS

Reader: TypeAlias = Callable[[Path, list[str]], Iterator[Example]]

_CONLLU_COLUMNS = 10
_RANGE_OR_EMPTY = re.compile(r"\d+-\d+|\d+\.\d+")
_WRITTEN = "# text = "
_TEXT = ("text", "label")
_PAIR = ("premise", "hypothesis", "label")


def _line_error(place: str, expected: str, got: str) -> HarnessError:
    return HarnessError(f"{place}: expected {expected}; got {got}; correct the line")


def read_conllu(path: Path, _notes: list[str]) -> Iterator[TokenExample]:
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
            token = _conllu_token(path, number, line)
            if token is not None:
                words.append(token[0])
                tags.append(token[1])


def _conllu_token(path: Path, number: int, line: str) -> tuple[str, str] | None:
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
    if columns[3] not in UPOS:
        raise _line_error(
            f"{path}:{number}", f"a UPOS tag in column 4 ({', '.join(UPOS)})", f"'{columns[3]}'"
        )
    return columns[1], columns[3]


def read_iob2(path: Path, notes: list[str]) -> Iterator[TokenExample]:
    """Yield sentences with their IOB2 tags.

    A type that changes within an entity (I-Y after B-X or I-X; published sets have a few) is read as B-Y, as
    conlleval and seqeval count it, and noted. Any other tag that is not IOB2 is an error.

    Raises:
        HarnessError: a line without two columns, without a word, or with a tag that is not IOB2 at that
            place.
    """
    words: list[str] = []
    tags: list[str] = []
    for number, line in _lines_and_end(path):
        if line.strip():
            word, tag = _iob2_token(path, number, line)
            words.append(word)
            tags.append(fit_tag(f"{path}:{number}", tag, tags, notes))
        elif words:
            yield TokenExample(tuple(words), tuple(tags))
            words, tags = [], []


def _iob2_token(path: Path, number: int, line: str) -> tuple[str, str]:
    columns = line.split("\t")
    if len(columns) != 2 or not columns[0].strip():
        raise _line_error(f"{path}:{number}", "a token, a tab and an IOB2 tag", f"'{line[:40]}'")
    return columns[0], columns[1]


def fit_tag(place: str, tag: str, before: list[str], notes: list[str]) -> str:
    """Return the tag in valid IOB2, given the tags before it in its sentence; see ``read_iob2``.

    Raises:
        HarnessError: the tag is not IOB2 at that place.
    """
    kind, _, name = tag.partition("-")
    last = before[-1] if before else "O"
    if tag == "O" or (kind == "B" and name) or (kind == "I" and name and last in (f"B-{name}", f"I-{name}")):
        return tag
    if kind == "I" and name and last != "O":
        notes.append(f"{place}: '{tag}' after '{last}', read as 'B-{name}'")
        return f"B-{name}"
    where = f"after '{last}'" if before else "at the start of a sentence"
    raise _line_error(place, "an IOB2 tag (O, B-X, or I-X within an entity)", f"'{tag}' {where}")


def read_tsv(path: Path, _notes: list[str]) -> Iterator[TextExample]:
    """Yield texts with their labels; a quotation mark is a letter like any other.

    Raises:
        HarnessError: the header is not ``text<TAB>label``, or a line lacks two columns, a text or a label.
    """
    for text, label in _columns(path, _TEXT):
        yield TextExample(text, label.strip())


def read_pairs(path: Path, _notes: list[str]) -> Iterator[TextExample]:
    """Yield pairs of texts with their labels.

    Raises:
        HarnessError: the header is not ``premise<TAB>hypothesis<TAB>label``, or a line lacks one of them.
    """
    for premise, hypothesis, label in _columns(path, _PAIR):
        yield TextExample(premise, label.strip(), hypothesis)


def _columns(path: Path, names: tuple[str, ...]) -> Iterator[list[str]]:
    """Return the columns of each line after the header, none of them empty."""
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
        yield columns


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
