"""Rows of text as two tokenizers read it, joined by the spans of text that both begin and end with a token.

A span ends where a token of the one and a token of the other end, so that every word that both tokenizers cut
out is made of whole spans, and equal tokenizers have one span a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.data.batches import Packed, find_frame, group_lines, map_ids
from harness.errors import HarnessError

Ints = npt.NDArray[np.int32]
NO_SPAN = -1


@dataclass(frozen=True)
class AlignedRows:
    """Rows of the same text in the tokens of student and teacher, and the span of each token.

    Invariants: in a row the spans of both rise from 0 without a gap to the same last number; the opening
    token is span 0 and the closing token the last.

    Attributes:
        student: ids.
        student_spans: the span of each id.
        teacher: ids.
        teacher_spans: the span of each id.
        teacher_mask_id: of the teacher's mask token.
        teacher_pad_id: of the teacher's padding token.
    """

    student: Packed
    student_spans: Packed
    teacher: Packed
    teacher_spans: Packed
    teacher_mask_id: int
    teacher_pad_id: int

    def __len__(self) -> int:
        return len(self.student)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The rows' lengths in the student's tokens, special tokens included."""
        return self.student.lengths

    def take(self, fraction: float) -> AlignedRows:
        """Return a share of the rows, evenly spread; at least one row."""
        taken = {name: getattr(self, name).take(fraction) for name in AlignedText._fields}
        return replace(self, **taken)


class AlignedText(NamedTuple):
    """Tokens of one text by student and teacher, without special tokens, and the span of each token.

    Invariants: the spans of each rise from 0 to the same last number, without a gap.
    """

    student: Ints
    student_spans: Ints
    teacher: Ints
    teacher_spans: Ints

    @property
    def num_spans(self) -> int:
        """How many spans the text has."""
        return int(self.student_spans[-1]) + 1 if len(self.student_spans) else 0

    @property
    def num_tokens(self) -> int:
        """How many tokens it has by the tokenizer with more of them."""
        return max(len(self.student), len(self.teacher))

    def slice(self, start: int, end: int) -> AlignedText:
        """Return the spans from a number up to another, numbered from 0."""
        columns: list[Ints] = []
        for ids, spans in (self[:2], self[2:]):
            first, last = np.searchsorted(spans, [start, end])
            columns += [ids[first:last], spans[first:last] - np.int32(start)]
        return AlignedText(*columns)

    def join(self, text: AlignedText) -> AlignedText:
        """Return this text and another after it."""
        later = text._replace(
            student_spans=text.student_spans + np.int32(self.num_spans),
            teacher_spans=text.teacher_spans + np.int32(self.num_spans),
        )
        return AlignedText(*map(np.concatenate, zip(self, later, strict=True)))


_EMPTY = AlignedText(*[np.zeros(0, np.int32)] * 4)


def find_ends(text: str, offsets: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Return where each token of a text ends, its white space left out.

    A token of white space alone belongs to the next token and ends with it; -1 where no token follows.
    """
    ends, following = np.empty(len(offsets), np.int64), -1
    for place in range(len(offsets) - 1, -1, -1):
        start, end = offsets[place]
        visible = text[start:end].rstrip()
        if visible:
            following = start + len(visible)
        ends[place] = following
    return ends


def number_spans(
    student_ends: npt.NDArray[np.int64], teacher_ends: npt.NDArray[np.int64]
) -> tuple[Ints, Ints]:
    """Return the number of the span of each token, counted from 0; -1 after the last common end.

    Args:
        student_ends: where the student's tokens end, of `find_ends`.
        teacher_ends: where the teacher's tokens end in the same text.
    """
    both = [_keep_rising(ends) for ends in (student_ends, teacher_ends)]
    common = np.intersect1d(both[0][both[0] >= 0], both[1][both[1] >= 0])
    numbers = []
    for rising, ends in zip(both, (student_ends, teacher_ends), strict=True):
        spans = np.searchsorted(common, rising).astype(np.int32)
        spans[(spans == len(common)) | (ends < 0)] = NO_SPAN
        numbers.append(spans)
    return numbers[0], numbers[1]


def _keep_rising(ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.maximum.accumulate(ends) if len(ends) else ends


def align_lines(lines: Sequence[str], student: Any, teacher: Any) -> Iterator[AlignedText]:
    """Yield each line in the tokens of two fast tokenizers of transformers, without tokens of no span."""
    encoded = [
        one(list(lines), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for one in (student, teacher)
    ]
    for place, line in enumerate(lines):
        ends = [find_ends(line, one["offset_mapping"][place]) for one in encoded]
        columns: list[Ints] = []
        for one, spans in zip(encoded, number_spans(*ends), strict=True):
            ids = np.array(one["input_ids"][place], np.int32)
            columns += [ids[spans >= 0], spans[spans >= 0]]
        yield AlignedText(*columns)


def pack_aligned(
    documents: Iterable[Sequence[str]], tokenizer: Any, teacher: Any, max_length: int, folder: Path
) -> AlignedRows:
    """Return rows of the same text for two tokenizers, as `harness.data.batches.pack` makes them for one.

    A row has at most ``max_length`` tokens of each tokenizer. A line that is too long is cut between spans; a
    single span that no row holds is left out.

    Args:
        documents: each a sequence of lines.
        tokenizer: the student's, a fast tokenizer of transformers.
        teacher: likewise, the teacher's.
        max_length: of a row, special tokens included.
        folder: where the rows are kept in files without a name, which are gone with the rows.

    Raises:
        HarnessError: the length leaves no room, or a tokenizer has no opening and closing token.
    """
    if max_length < 3:
        raise HarnessError(f"pack: expected a length of 3 or more (two are special tokens); got {max_length}")
    frames = find_frame(tokenizer), find_frame(teacher)
    rows = (_frame(row, *frames) for row in _fill_rows(documents, tokenizer, teacher, max_length - 2))
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(dir=folder)) for _ in AlignedText._fields]
        lengths = _write_rows(rows, files)
        student, student_spans, own, own_spans = map(map_ids, files, lengths)
    return AlignedRows(
        student,
        student_spans,
        own,
        own_spans,
        teacher_mask_id=int(teacher.mask_token_id),
        teacher_pad_id=int(teacher.pad_token_id),
    )


def _fill_rows(
    documents: Iterable[Sequence[str]], student: Any, teacher: Any, room: int
) -> Iterator[AlignedText]:
    """Yield rows of consecutive lines of one document, joined while they fit."""
    row = _EMPTY
    for lines, openings in group_lines(documents):
        for line, opening in zip(align_lines(lines, student, teacher), openings, strict=True):
            joined = line if opening else row.join(line)
            if opening or joined.num_tokens > room:
                yield row
                *pieces, joined = _cut(line, room)
                yield from pieces
            row = joined
    yield row


def _cut(line: AlignedText, room: int) -> Iterator[AlignedText]:
    """Yield a line in pieces that fit into a row, the last of which may be empty."""
    while line.num_tokens > room:
        ends = (
            int(spans[room]) if len(spans) > room else line.num_spans
            for spans in (line.student_spans, line.teacher_spans)
        )
        end = min(ends)
        yield line.slice(0, end)
        line = line.slice(max(1, end), line.num_spans)
    yield line


def _frame(row: AlignedText, student: tuple[int, int], teacher: tuple[int, int]) -> AlignedText:
    """Return a row between its special tokens, which are its first and its last span."""
    columns: list[Ints] = []
    for (first, last), (ids, spans) in zip((student, teacher), (row[:2], row[2:]), strict=True):
        inner = spans + np.int32(1)
        columns += [
            np.concatenate([[first], ids, [last]]).astype(np.int32),
            np.concatenate([[0], inner, [row.num_spans + 1]]).astype(np.int32),
        ]
    return AlignedText(*columns)


def _write_rows(rows: Iterable[AlignedText], files: Sequence[IO[bytes]]) -> npt.NDArray[np.int64]:
    """Write each column of the rows to a file of its own; return the lengths of its rows for each column."""
    lengths: list[tuple[int, ...]] = []
    for row in rows:
        if row.num_spans > 2:
            lengths.append(tuple(map(len, row)))
            for column, file in zip(row, files, strict=True):
                column.tofile(file)
    return np.array(lengths, np.int64).reshape(-1, len(files)).T
