"""The data folder: a user's own corpus and tasks in plain formats.

::

    corpus/<lang>/*.txt[.gz|.xz|.zst]             UTF-8, a sentence or paragraph a line
    <task>/<lang>/{train,dev,test}<ending>        a task of ``harness.tasks``, in its format
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.data.corpus import Document, group
from harness.data.examples import SPLITS, Absent, TaskData, assemble, compose, limit_part
from harness.data.formats import READERS
from harness.data.notes import ReadingNotes
from harness.data.text import COMPRESSIONS, read_lines
from harness.errors import HarnessError, unknown
from harness.tasks import find_task


def list_languages(root: Path) -> list[str]:
    """Return the codes of the languages that have a corpus in the folder, sorted.

    Raises:
        HarnessError: the folder or its ``corpus`` is missing.
    """
    corpus = root / "corpus"
    if not corpus.is_dir():
        raise HarnessError(
            f"{root}: expected a data folder with 'corpus/<language>/*.txt'; got none; name another"
        )
    with os.scandir(corpus) as entries:
        return sorted(one.name for one in entries if one.is_dir() and not one.name.startswith("."))


def read_corpus(root: Path, lang: str) -> Iterator[Document]:
    """Yield the documents of all files of a language, in the order of their names.

    Raises:
        HarnessError: the language has no corpus (lists those that have), or a file is empty or not UTF-8.
    """
    for path in corpus_files(root, lang):
        yield from read_documents(path)


def corpus_files(root: Path, lang: str) -> list[Path]:
    """Return the corpus files of a language, sorted by name; hidden files, as a Mac leaves, are skipped.

    Raises:
        HarnessError: there are none, or one is compressed in an unknown way.
    """
    known = list_languages(root)
    if lang not in known:
        raise unknown(f"language in {root / 'corpus'}", lang, known)
    folder = root / "corpus" / lang
    texts = [
        path
        for path in sorted(folder.iterdir())
        if ".txt" in path.suffixes and path.is_file() and not path.name.startswith(".")
    ]
    endings = tuple(f".txt{suffix}" for suffix in COMPRESSIONS)
    for path in texts:
        if not path.name.endswith(endings):
            raise HarnessError(
                f"{path}: expected one of {', '.join(endings)}; got '{path.suffix}'; compress it again"
            )
    if not texts:
        raise HarnessError(f"{folder}: expected files *.txt[.gz|.xz|.zst]; got none; add text")
    return texts


def read_documents(path: Path) -> Iterator[Document]:
    """Return the documents of one text file; reads the file twice, and holds one document at a time.

    Raises:
        HarnessError: the file is empty, holds white space only, or is not UTF-8.
    """
    has_gaps = _has_gaps(path)
    return group((line for _, line in read_lines(path)), blank_lines=has_gaps)


def _has_gaps(path: Path) -> bool:
    """Return whether a blank line is between two lines of text."""
    text_seen = gap = False
    for _, line in read_lines(path):
        if not line.strip():
            gap = text_seen
        elif gap:
            return True
        else:
            text_seen = True
    if not text_seen:
        raise HarnessError(f"{path}: expected lines of text; got only white space; fill it or remove it")
    return False


def read_task(root: Path, task: str, lang: str, *, strict: bool = False) -> TaskData | Absent:
    """Read a task in one language, or return why the folder has none.

    Absent is legal: a folder without ``<task>/<lang>``, or with one that has no training part. A training
    part without dev or test is an error, as is every line that cannot be read. What is read otherwise than
    it is written is in the notes; with ``strict`` it is an error.

    Raises:
        HarnessError: names the file and the line.
    """
    row = find_task(task)
    place = root / task / lang
    read = READERS[row.format.name]
    paths = {split: place / f"{split}{row.format.ending}" for split in SPLITS}
    if not place.is_dir():
        return Absent(row, lang, f"{place} does not exist")
    if not paths["train"].is_file():
        return Absent(row, lang, f"{place} has no {paths['train'].name}, nothing to learn the task from")
    for split in ("dev", "test"):
        if not paths[split].is_file():
            raise HarnessError(
                f"{paths[split]}: expected this file next to {paths['train'].name}; got none; add it"
            )
    notes = ReadingNotes(f"{root}{os.sep}", strict=strict)
    parts = {split: list(read(path, notes)) for split, path in paths.items()}
    places = {split: str(path) for split, path in paths.items()}
    return assemble(row, lang, parts, places, notes=notes.list_lines(), provenance={"source": str(root)})


def read_part_texts(
    root: Path, task: str, lang: str, part: str, *, size: int | None = None, seed: int = 0
) -> set[str]:
    """Return the texts of one part of a task, without a look at the other parts; at most ``size`` examples.

    Raises:
        HarnessError: names the file and the line.
    """
    form = find_task(task).format
    examples = READERS[form.name](root / task / lang / f"{part}{form.ending}", ReadingNotes())
    kept = limit_part(tuple(map(compose, examples)), size, part, seed)
    return {text for example in kept for text in example.texts}
