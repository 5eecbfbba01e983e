"""Spans written in any scheme of tags are read back as the same spans, in IOB2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.notes import ReadingNotes
from harness.data.tag_schemes import convert_to_iob2
from harness.errors import HarnessError

Span = tuple[int, str]
"""The number of words, and the type; a span outside all entities has the type O."""
SPANS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["O", "O", "PER", "LOC", "GPE-LOC"])), max_size=8
)


def write_iob2(spans: list[Span]) -> Iterator[str]:
    for size, name in spans:
        for place in range(size):
            yield "O" if name == "O" else f"{'B' if place == 0 else 'I'}-{name}"


def write_iob1(spans: list[Span]) -> Iterator[str]:
    before = "O"
    for size, name in spans:
        for place in range(size):
            begins = place == 0 and before == name
            yield "O" if name == "O" else f"{'B' if begins else 'I'}-{name}"
        before = name


def write_with_ends(spans: list[Span], single: str, last: str) -> Iterator[str]:
    for size, name in spans:
        for place in range(size):
            prefix = single if size == 1 else "B" if place == 0 else last if place == size - 1 else "I"
            yield "O" if name == "O" else f"{prefix}-{name}"


WRITERS = {
    "IOB2": write_iob2,
    "IOB1": write_iob1,
    "BIOES": lambda spans: write_with_ends(spans, "S", "E"),
    "BILOU": lambda spans: write_with_ends(spans, "U", "L"),
}


def convert(tags: list[str], notes: ReadingNotes) -> list[str]:
    return list(convert_to_iob2(tags, [f"file:{number}" for number in range(1, len(tags) + 1)], notes))


@pytest.mark.parametrize("scheme", WRITERS)
@given(spans=SPANS)
def test_spans_of_every_scheme_are_read_back(scheme: str, spans: list[Span]) -> None:
    tags, notes = list(WRITERS[scheme](spans)), ReadingNotes()
    expected = list(write_iob2(spans))
    assert convert(tags, notes) == expected
    changed = sum(one != other for one, other in zip(tags, expected, strict=True))
    assert sum(int(line.split(": ")[1].split(",")[0]) for line in notes.list_lines()) == changed


@given(spans=SPANS)
def test_iob2_is_not_noted_and_strict_reading_takes_it(spans: list[Span]) -> None:
    tags = list(write_iob2(spans))
    assert convert(tags, ReadingNotes(strict=True)) == tags


@given(tags=st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in "BIESLU" for t in ("X", "Y"))]), max_size=9))
def test_any_tags_become_iob2(tags: list[str]) -> None:
    read = convert(tags, ReadingNotes())
    assert convert(read, ReadingNotes(strict=True)) == read
    assert [tag[2:] for tag in read] == [tag[2:] for tag in tags]


def test_iob1_is_named_only_where_no_tag_is_iob2() -> None:
    notes = ReadingNotes()
    convert(["I-X", "O"], notes)
    assert notes.list_lines() == (
        "tags in IOB1, converted to IOB2: 1, the first 'I-X' at the start of a sentence at file:1",
    )
    convert(["B-X", "I-Y"], notes)
    assert notes.list_lines() == (
        "tags I- that open an entity, read as B-: 2, the first 'I-X' at the start of a sentence at file:1",
    )


@pytest.mark.parametrize("tag", ["", "PER", "B", "B-", "b-PER", "X-PER", "O-PER"])
def test_text_that_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(
        HarnessError, match=r"file:2: expected an IOB2 tag \(O, .*; got '.*' after 'O'; correct"
    ):
        convert(["O", tag], ReadingNotes())
