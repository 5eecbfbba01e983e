"""Spans in IOB2 tags, read as the CoNLL evaluation reads them.

A gold span in IOB2 always begins with ``B-``. A predicted one may not: an ``I-X`` that follows no ``X``
begins a span.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import HarnessError

Span = tuple[str, int, int]


def find_spans(tags: Sequence[str]) -> set[Span]:
    """Return the spans of one sentence as (type, first word, word after the last).

    Invariants: spans do not overlap; ``O`` is in no span.

    Raises:
        HarnessError: a tag that is neither ``O`` nor ``B-`` or ``I-`` with a type.
    """
    spans: set[Span] = set()
    kind, start = "", 0
    for place, tag in enumerate((*tags, "O")):
        prefix, name = _split(tag)
        if kind and (prefix != "I" or name != kind):
            spans.add((kind, start, place))
            kind = ""
        if name and not kind:
            kind, start = name, place
    return spans


def find_seqeval_spans(tags: Sequence[str]) -> set[Span]:
    """Return the spans that seqeval's default reading finds in tags of words, as UPOS, which have no spans.

    It takes a tag's first letter for IOB's and the rest for the type: neighbours of one tag become one span,
    ``CCONJ`` and ``SCONJ`` one type, and only tags that begin with ``S`` (``SCONJ``, ``SYM``) are spans of
    their own. Some papers report POS so; this score serves to compare with their numbers, and nothing else.

    Raises:
        HarnessError: a tag that begins with ``B``, ``E``, ``I-`` or ``O``, by which seqeval begins or ends
            spans.
    """
    spans: set[Span] = set()
    kind, start = "", 0
    before = ""
    for place, tag in enumerate((*tags, "")):
        if tag[:1] in {"B", "E", "L", "O", "U", "["} or tag[1:2] == "-":
            raise HarnessError(f"scores: expected tags of words, as NOUN; got '{tag}'; score it by span_f1")
        name = _type(tag)
        if kind and (name != kind or "S" in {tag[:1], before[:1]}):
            spans.add((kind, start, place))
            kind = ""
        if tag and not kind:
            kind, start = name, place
        before = tag
    return spans


def _type(tag: str) -> str:
    return (tag[1:].split("-", maxsplit=1)[-1] or "_") if tag else ""


def _split(tag: str) -> tuple[str, str]:
    prefix, _, name = tag.partition("-")
    if tag == "O" or (prefix in {"B", "I"} and name):
        return prefix, name
    raise HarnessError(
        f"scores: expected an IOB2 tag as O, B-PER or I-PER; got '{tag}'; convert the tags to IOB2"
    )
