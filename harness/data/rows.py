"""From the rows of a hub data set to examples: columns, label names, rows that are no words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.data.examples import Example, TextExample, TokenExample
from harness.data.notes import Departure, ReadingNotes, clean_label
from harness.data.tag_schemes import DOCSTART, convert_to_iob2
from harness.errors import HarnessError
from harness.languages import Source
from harness.tasks import CONLLU, UPOS, Task

_NO_WORD = ("_", None)
_WRITTEN = "text"
"""The column of a CoNLL-U source with the sentence as it was written, where a data set has the column."""


def to_examples(rows: Any, task: Task, source: Source, place: str, notes: ReadingNotes) -> list[Example]:
    """Return the examples of one part.

    Args:
        rows: a ``datasets`` data set.
        task: the row of the table of tasks.
        source: names the columns.
        place: where the rows come from, for messages.
        notes: count where the reader departs from the file.

    Raises:
        HarnessError: a column is missing, or a row has no text, no label, or unequally many words and labels.
    """
    for column in source.columns:
        if column not in rows.column_names:
            raise HarnessError(
                f"{place}: expected the column '{column}'; got {', '.join(rows.column_names)}; "
                "correct the row of harness/languages.py"
            )
    name = _find_names(rows.features[source.columns[-1]], source)
    labels = rows[source.columns[-1]]
    if task.kind == "sequence":
        texts = zip(*(rows[column] for column in source.columns[:-1]), strict=True)
        return [
            _text_example(both, name(label), f"{place}:{number}", notes)
            for number, (both, label) in enumerate(zip(texts, labels, strict=True), start=1)
        ]
    has_written = task.format == CONLLU and _WRITTEN in rows.column_names
    written = rows[_WRITTEN] if has_written else [None] * len(labels)
    sentences = enumerate(zip(rows[source.columns[0]], labels, written, strict=True), start=1)
    examples = (
        _token_example(task, words, [name(tag) for tag in tags], f"{place}:{number}", notes, written=sentence)
        for number, (words, tags, sentence) in sentences
    )
    return [example for example in examples if example.words]


def _find_names(feature: Any, source: Source) -> Callable[[Any], str | None]:
    """Return the function from a stored label to its name: by the file's own names, else by the table's."""
    inner = getattr(feature, "feature", feature)
    names = getattr(inner, "names", None) or source.labels

    def name(label: Any) -> str | None:
        if isinstance(label, int) and names and 0 <= label < len(names):
            return str(names[label])
        return None if label is None else str(label)

    return name


def _text_example(
    texts: Sequence[str | None], label: str | None, place: str, notes: ReadingNotes
) -> TextExample:
    filled = [text for text in texts if text and text.strip()]
    if len(filled) < len(texts) or not label or not label.strip():
        row = "' and '".join((text or "")[:40] for text in (*texts, label))
        raise HarnessError(f"{place}: expected a text and a label; got '{row}'; correct it")
    return TextExample(filled[0], clean_label(label, place, notes), *filled[1:])


def _token_example(
    task: Task,
    words: list[str],
    tags: list[str | None],
    place: str,
    notes: ReadingNotes,
    *,
    written: str | None,
) -> TokenExample:
    """Return a sentence; from CoNLL-U, multiword ranges and empty nodes (tag ``_``) are skipped."""
    if len(words) != len(tags):
        raise HarnessError(
            f"{place}: expected a label for each of {len(words)} words; got {len(tags)}; correct it"
        )
    if task.format == CONLLU:
        pairs = [
            (word, clean_label(str(tag), place, notes))
            for word, tag in zip(words, tags, strict=True)
            if tag not in _NO_WORD
        ]
        for _, tag in pairs:
            if tag not in UPOS:
                raise HarnessError(
                    f"{place}: expected UPOS tags ({', '.join(UPOS)}); got '{tag}'; correct it"
                )
        sentence = written if written and written.strip() else None
        return TokenExample(tuple(word for word, _ in pairs), tuple(tag for _, tag in pairs), sentence)
    if DOCSTART in words:
        notes.add(Departure.DOCUMENT, place, "words", f"'{DOCSTART}'")
    kept = [(word, str(tag)) for word, tag in zip(words, tags, strict=True) if word != DOCSTART]
    labels = [clean_label(tag, place, notes) for _, tag in kept]
    return TokenExample(
        tuple(word for word, _ in kept), convert_to_iob2(labels, [place] * len(labels), notes)
    )
