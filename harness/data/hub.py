"""Corpora and tasks from the hub: pinned to a commit, compared with its hash; parquet, csv, tsv, jsonl only.

Files are fetched by ``huggingface_hub``, which names each by its content hash, and read by ``datasets`` from
the local copy: no data-set script runs, and a fetched file reads the same without network. Where a row of the
table pins no commit, its branch is resolved (without network: to the commit of the last fetch); the
provenance has the commit and the SHA-256 of every file that was read.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from harness.data.corpus import Document
from harness.data.examples import SPLITS, Absent, Example, TaskData, assemble
from harness.data.notes import ReadingNotes
from harness.data.rows import to_examples
from harness.downloads import ANSWER_S, ask_hub, describe_fault, fetch_checked, resume_download
from harness.errors import HarnessError
from harness.languages import Source, language
from harness.tasks import find_task

_BUILDERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {"keep_default_na": False}),
    ".tsv": ("csv", {"sep": "\t", "quoting": csv.QUOTE_NONE, "keep_default_na": False}),
    ".jsonl": ("json", {}),
}


@dataclass(frozen=True)
class Listing:
    """The files of a data set at one commit.

    Attributes:
        source: the row of the table.
        revision: the full commit hash.
        names: of all its files, or of the cached files where the hub cannot be reached.
    """

    source: Source
    revision: str
    names: tuple[str, ...]

    def matching(self, split: str) -> list[str]:
        """Return the files of one part, sorted.

        Raises:
            HarnessError: there are none (the message names similar files), or they are in more than one
                folder.
        """
        pattern = self.source.pattern(split)
        names = sorted(fnmatch.filter(self.names, pattern))
        folders = sorted({str(PurePosixPath(name).parent) for name in names})
        place = f"hub: {self.source.hub}@{self.revision[:7]}"
        if not names:
            similar = get_close_matches(pattern, self.names, n=3, cutoff=0.3)
            raise HarnessError(
                f"{place}: expected files '{pattern}'; got {len(self.names)} others, the nearest: "
                f"{', '.join(similar) or 'none'}; "
                "correct the row of harness/languages.py or use a data folder"
            )
        if len(folders) > 1:
            raise HarnessError(
                f"{place}: expected the files '{pattern}' in one folder; got {', '.join(folders)}; "
                "narrow the row of harness/languages.py"
            )
        return names


def read_corpus(
    lang: str, lines: int | None = None, provenance: MutableMapping[str, str] | None = None
) -> Iterator[Document]:
    """Yield the documents of the language's web corpus, file by file, until ``lines`` lines are read.

    Args:
        lang: code of the language.
        lines: how many lines to read; the last document is cut at this number. None reads all.
        provenance: where data set, commit and the digests of the files read are written.

    Raises:
        HarnessError: the hub and its cache lack the data set, its commit, its files or its column.
    """
    source = language(lang).corpus
    listing = list_files(source)
    record = provenance if provenance is not None else {}
    left = lines
    for name in listing.matching("train"):
        for row in load_rows([fetch(listing, name, record)], streaming=True):
            document = _read_text(row, source).split("\n")[:left]
            yield document
            left = None if left is None else left - len(document)
            if left == 0:
                return


def _read_text(row: dict[str, Any], source: Source) -> str:
    column = source.columns[0]
    if not isinstance(row.get(column), str):
        raise HarnessError(
            f"hub: {source.hub}: expected text in the column '{column}'; got {', '.join(map(str, row))}; "
            "correct the row of harness/languages.py"
        )
    return str(row[column])


def read_task(task: str, lang: str, *, strict: bool = False) -> TaskData | Absent:
    """Read a task in one language, or return that no source is known.

    What is read otherwise than it is written is in the notes; with ``strict`` it is an error.

    Raises:
        HarnessError: the hub and its cache lack the data set, its commit, its files or its columns.
    """
    row = find_task(task)
    source = language(lang).tasks.get(task)
    if source is None:
        return Absent(row, lang, f"no source on the hub is known for {task} in '{lang}'")
    listing = list_files(source)
    provenance: dict[str, str] = {}
    notes = ReadingNotes(strict=strict)
    parts: dict[str, list[Example]] = {}
    places = {split: f"hub: {source.hub}@{listing.revision[:7]} {source.pattern(split)}" for split in SPLITS}
    for split in SPLITS:
        paths = [fetch(listing, name, provenance) for name in listing.matching(split)]
        parts[split] = to_examples(load_rows(paths), row, source, places[split], notes)
    return assemble(row, lang, parts, places, notes=notes.list_lines(), provenance=provenance)


def list_files(source: Source) -> Listing:
    """List the files of a data set at its commit: from the hub, or from the cache where it cannot be reached.

    Raises:
        HarnessError: there is no such data set or commit, or the hub cannot be reached and its files are not
            cached.
    """
    revision = source.revision or source.branch
    try:
        info = ask_hub(lambda: HfApi().dataset_info(source.hub, revision=revision, timeout=ANSWER_S))
        return Listing(source, str(info.sha), tuple(one.rfilename for one in info.siblings or ()))
    except (RepositoryNotFoundError, GatedRepoError, RevisionNotFoundError) as fault:
        raise HarnessError(
            f"hub: expected the data set {source.hub} at '{revision}'; got {describe_fault(fault)}; "
            "it was moved, closed or renamed: correct harness/languages.py or use a data folder"
        ) from fault
    except Exception as fault:  # the class of a transport fault depends on the hub library's version
        return _list_cached(source, revision, fault)


def _list_cached(source: Source, revision: str, reason: Exception) -> Listing:
    try:
        path = snapshot_download(
            source.hub, repo_type="dataset", revision=revision, allow_patterns=[], local_files_only=True
        )
    except OSError as fault:
        raise HarnessError(
            f"hub: expected the data set {source.hub} at '{revision}'; got "
            f"{describe_fault(reason)}, and no cached copy; go online once, "
            "or use a data folder or the built-in languages"
        ) from fault
    root = Path(path)
    names = tuple(one.relative_to(root).as_posix() for one in sorted(root.rglob("*")) if one.is_file())
    return Listing(source, root.name, names)


def fetch(listing: Listing, name: str, provenance: MutableMapping[str, str]) -> Path:
    """Fetch a file, write its commit and SHA-256 into ``provenance``, and return the local copy.

    Raises:
        HarnessError: it can neither be downloaded nor read from the cache, its bytes are not those that the
            hub announced, or the branch has moved since.
    """
    source = listing.source
    revision = source.revision or source.branch  # by its branch: the cache then knows it without network
    where = f"{name} of {source.hub}@{listing.revision[:7]}"

    def download() -> Path:
        resume_download(source.hub, name, revision=listing.revision, kind="dataset")
        return Path(hf_hub_download(source.hub, name, repo_type="dataset", revision=revision))

    try:
        path = fetch_checked(download, where, "try again later, or use a data folder")
    except HarnessError:
        raise
    except Exception as fault:  # as above
        raise HarnessError(
            f"hub: expected {where}; got {describe_fault(fault)}; try again, or use a data folder"
        ) from fault
    if listing.revision not in path.parts:
        raise HarnessError(
            f"hub: expected {where}; got another commit: the branch '{revision}' moved while reading; "
            "run again"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    provenance.update(hub=source.hub, revision=listing.revision, licence=source.licence)
    provenance[f"sha256:{name}"] = digest
    return path


def load_rows(paths: list[Path], *, streaming: bool = False) -> Any:
    """Load the rows of files of one kind as a ``datasets`` data set.

    Raises:
        HarnessError: their kind is not parquet, csv, tsv or jsonl, or they are broken.
    """
    if paths[0].suffix not in _BUILDERS:
        raise HarnessError(
            f"hub: expected one of {', '.join(_BUILDERS)}; got '{paths[0].name}'; "
            "correct harness/languages.py"
        )
    builder, options = _BUILDERS[paths[0].suffix]
    names = [str(path) for path in paths]
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(builder, data_files=names, split="train", streaming=streaming, **options)
    except (datasets.exceptions.DatasetGenerationError, OSError, ValueError) as fault:
        raise HarnessError(
            f"hub: expected a whole {builder} file; got '{paths[0].name}' ({type(fault).__name__}); "
            "remove it from the cache and run again"
        ) from fault
