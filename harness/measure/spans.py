"""Spans in IOB2 tags, read as the CoNLL evaluation reads them.

A truth in IOB2 begins every span with ``B-``. A prediction may not: an ``I-X`` after no ``X`` begins a span.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import HarnessError

Span = tuple[str, int, int]


def spans(tags: Sequence[str]) -> set[Span]:
    """Gives the spans of one sentence as (type, first word, word after the last).

    What holds: spans do not overlap; ``O`` belongs to none.

    Raises:
        HarnessError: a tag that is neither ``O`` nor ``B-`` or ``I-`` with a type.
    """
    found: set[Span] = set()
    kind, start = "", 0
    for place, tag in enumerate((*tags, "O")):
        prefix, name = _split(tag)
        if kind and (prefix != "I" or name != kind):
            found.add((kind, start, place))
            kind = ""
        if name and not kind:
            kind, start = name, place
    return found


def _split(tag: str) -> tuple[str, str]:
    prefix, _, name = tag.partition("-")
    if tag == "O" or (prefix in {"B", "I"} and name):
        return prefix, name
    raise HarnessError(
        f"scores: wanted an IOB2 tag as O, B-PER or I-PER; got '{tag}'; convert the tags to IOB2"
    )
