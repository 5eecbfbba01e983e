"""The fields in which published web corpora keep a document's text and its language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError

_MISSING = object()


@dataclass(frozen=True)
class Layout:
    """Where a record has its text and its label.

    Attributes:
        corpus: that is published so.
        text: the field of the text; a dot leads into an object.
        label: the fields of the language and, where that is one of its own, of the script; none: its folder.
    """

    corpus: str
    text: str
    label: tuple[str, ...] = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record has all the fields."""
        return all(_get(record, name) is not _MISSING for name in (self.text, *self.label))

    def get_text(self, record: Mapping[str, Any]) -> str:
        """Return the text of a record; it is empty where the record has none."""
        text = _get(record, self.text)
        return text if isinstance(text, str) else ""

    def get_label(self, record: Mapping[str, Any]) -> str:
        """Return the label of a record, of several the first; it is empty where the record has none."""
        parts = [_get(record, name) for name in self.label]
        firsts = [part[0] if isinstance(part, list) and part else part for part in parts]
        return "_".join(part.split(",")[0] for part in firsts if isinstance(part, str))


LAYOUTS = (
    Layout("HPLT 2 and 3", "text", ("lang",)),
    Layout("HPLT 1", "text", ("document_lang",)),
    Layout("FineWeb-2", "text", ("language", "language_script")),
    Layout("GlotCC (Parquet)", "content", ("identification-label",)),
    Layout("GlotCC and OSCAR (JSON lines)", "content", ("metadata.identification.label",)),
    Layout("Common Crawl's WET", "content", ("WARC-Identified-Content-Language",)),
    Layout("any, with a folder for each language", "text"),
    Layout("any, with a folder for each language", "content"),
)
"""Known layouts; the first that fits a file's first record is taken."""


def choose_layout(
    record: Mapping[str, Any], where: str, text_field: str | None, label_field: str | None
) -> Layout:
    """Return the layout of a file by its first record and the fields that the user stated.

    Raises:
        HarnessError: no known layout fits, or a stated field does not exist.
    """
    for layout in LAYOUTS:
        stated = Layout(
            layout.corpus, text_field or layout.text, (label_field,) if label_field else layout.label
        )
        if stated.fits(record):
            return stated
    fields = " and ".join(filter(None, (text_field, label_field))) or "text or content"
    raise HarnessError(
        f"{where}: expected the field {fields}; got {', '.join(sorted(record)) or 'no field'}; "
        "name them by --text-field and --label-field"
    )


def _get(record: Mapping[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    first, _, rest = name.partition(".")
    inner = record.get(first, _MISSING)
    return _get(inner, rest) if rest and isinstance(inner, Mapping) else _MISSING
