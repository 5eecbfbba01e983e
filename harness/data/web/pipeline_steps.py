"""The steps of datatrove's pipelines that are ours: read, write, and collect; the others are datatrove's.

This module imports datatrove, an extra: only `harness.data.web.build` imports it, when a corpus is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import regex
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.word_tokenizers import WordTokenizer

from harness.data.leakage import ScoredTexts
from harness.data.web.corpus_manifest import describe_language
from harness.data.web.document_selection import DocumentSelection
from harness.data.web.records import SourceFile
from harness.data.web.shards import ShardWriter, split_document
from harness.data.web.workspace import Workspace, write_record
from harness.errors import HarnessError
from harness.json_files import read_json

_WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_WORD = regex.compile(rf"[{_WITHOUT_SPACES}]|[^\s{_WITHOUT_SPACES}]+")


class ScriptWords(WordTokenizer):  # type: ignore[misc]  # datatrove has no types
    """Words by which documents are compared: between spaces, or characters of scripts without spaces."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words of a text."""
        return list(_WORD.findall(text))

    def sent_tokenize(self, text: str) -> list[str]:
        """Return the whole text, since nothing here needs sentences."""
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Return the span of the whole text."""
        return [(0, len(text))]


class ReadDocuments(PipelineStep):  # type: ignore[misc]
    """Read the documents of every n-th file, which must not have changed since it was read first."""

    type = "READER"
    name = "web corpus"

    def __init__(
        self, files: Sequence[SourceFile], selection: DocumentSelection, workspace: Workspace
    ) -> None:
        super().__init__()
        self.files, self.selection, self.workspace = list(files), selection, workspace

    def run(self, _data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents of the files of a task, each with its language."""
        files = self.files[rank::world_size]
        self._check_digests(files, self.workspace.digests(rank))
        labels: Counter[str] = Counter()
        documents: Counter[str] = Counter()
        for file in files:
            for number, (language, text) in enumerate(self.selection.read_documents(file, labels)):
                documents[language] += 1
                yield Document(text=text, id=f"{file.name}/{number}", metadata={"language": language})
        counts = {"labels": dict(labels), "documents": dict(documents)}
        write_record(self.workspace.reading(rank), counts)

    def _check_digests(self, files: Sequence[SourceFile], record: Path) -> None:
        digests = {file.name: {"bytes": file.path.stat().st_size, "sha256": file.digest()} for file in files}
        if not record.is_file():
            write_record(record, digests)
        changed = [file.path for file in files if read_json(record).get(file.name) != digests[file.name]]
        if changed:
            raise HarnessError(
                f"{changed[0]}: expected the file as it was at the beginning; it has changed; remove "
                f"{self.workspace.root} and run the same command again"
            )


class WriteShards(PipelineStep):  # type: ignore[misc]
    """Drop scored texts, and write a file of text for each language, with a record of what is in it."""

    type = "WRITER"
    name = "data folder"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace

    def run(self, data: Iterator[Document], rank: int = 0, _tasks: int = 1) -> Iterator[Document]:
        """Write the documents of a task."""
        scored = ScoredTexts(read_json(self.workspace.scored_texts))
        writers: dict[str, ShardWriter] = {}
        counts: dict[str, Counter[str]] = {}
        with ExitStack() as stack:
            for document in data:
                language = document.metadata["language"]
                count = counts.setdefault(language, Counter())
                count["unique"] += 1
                lines = split_document(document.text)
                kept = scored.drop(lines)
                count["scored_lines"] += len(lines) - len(kept)
                count["empty"] += not kept
                if kept and language not in writers:
                    path = self.workspace.shards(language) / f"{rank:05d}.txt.zst"
                    writers[language] = stack.enter_context(ShardWriter(path))
                if kept:
                    writers[language].write(kept)
                yield document
        shards = {language: writer.shard.as_dict() for language, writer in writers.items()}
        write_record(self.workspace.writing(rank), {"counts": counts, "shards": shards})


class CollectShards(PipelineStep):  # type: ignore[misc]
    """Write each language's manifest and put its files into their place in the data folder."""

    type = "WRITER"
    name = "manifest"

    def __init__(self, workspace: Workspace, languages: Sequence[str], settings: dict[str, Any]) -> None:
        super().__init__()
        self.workspace, self.languages, self.settings = workspace, list(languages), settings

    def run(self, _data: object = None, _rank: int = 0, _tasks: int = 1) -> None:
        """Collect the languages that have text; the others are an error."""
        missing = []
        for language in self.languages:
            target = self.workspace.target(language)
            if self.workspace.is_finished(language):
                continue
            manifest = describe_language(self.workspace, language, self.settings)
            if not manifest["shards"]:
                missing.append(language)
                continue
            folder = self.workspace.shards(language)
            write_record(folder / "manifest.json", manifest)
            self.workspace.mark(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.replace(target)
        if missing:
            raise HarnessError(
                f"{', '.join(missing)}: expected text in the corpus; got none, but documents labelled "
                f"{self.workspace.list_labels()}; correct --lang, or state labels as {missing[0]}=LABEL"
            )
        self.workspace.clear()
