"""Choose the documents of a web corpus that are in the languages that are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.data.web.language_labels import Labels
from harness.data.web.record_fields import Layout, choose_layout
from harness.data.web.records import Record, SourceFile
from harness.errors import HarnessError


@dataclass(frozen=True)
class DocumentSelection:
    """What is read of a web corpus.

    Attributes:
        labels: of the languages.
        text_field: of a document's text, where the layout is none of the known.
        label_field: of a document's language, likewise.
        unlabelled: the language of documents without a label; None: a file without labels is an error.
    """

    labels: Labels
    text_field: str | None = None
    label_field: str | None = None
    unlabelled: str | None = None

    def read_documents(self, file: SourceFile, counts: Counter[str]) -> Iterator[tuple[str, str]]:
        """Yield the language and the text of each document in one of the languages.

        Args:
            file: of the corpus.
            counts: of the labels that were read; it is added to.

        Raises:
            HarnessError: the file is broken, or has neither labels nor a folder that is a label.
        """
        layout: Layout | None = None
        for number, record in file.read():
            if layout is None:
                layout = choose_layout(record, f"{file.path}:{number}", self.text_field, self.label_field)
            label = self._find_label(file, layout, record)
            counts[label or "no label"] += 1
            language = self.labels.find(label) if label else self.unlabelled
            if language is not None:
                yield language, layout.get_text(record)

    def _find_label(self, file: SourceFile, layout: Layout, record: Record) -> str | None:
        """Return the label of a record; without a field for labels, that of its folder."""
        if layout.label:
            return layout.get_label(record) or None
        label = self.labels.find_folder(file.folders)
        if label is None and self.unlabelled is None:
            raise HarnessError(
                f"{file.path}: expected a label of the language, in a field or as a folder (mlt_Latn); got "
                "none; name the field by --label-field, or add --unlabelled if all is in one language"
            )
        return label
