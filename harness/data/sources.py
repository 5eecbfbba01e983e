"""Open corpora and tasks: of the built-in languages, the hub or a data folder, all in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from harness.data import folder
from harness.data.corpus import Document, sample_stream
from harness.data.examples import Absent, TaskData, limit
from harness.errors import UsageError, unknown

DataSource: TypeAlias = str | Path
Sizes: TypeAlias = tuple[int | None, int | None, int | None]

NAMES = ("builtin", "hub")


@dataclass(frozen=True)
class Corpus:
    """A corpus about to be read.

    Attributes:
        documents: may be read once.
        provenance: where it comes from; complete only after the documents have been read.
    """

    documents: Iterable[Document]
    provenance: Mapping[str, str] = field(default_factory=dict)


def open_corpus(source: DataSource, lang: str, lines: int | None = None, seed: int = 0) -> Corpus:
    """Open the corpus of a language.

    Args:
        source: ``"builtin"``, ``"hub"`` or the path of a data folder.
        lang: code of the language.
        lines: how many lines to read: from the hub the first, from a folder at most so many, whole documents
            drawn by the seed from all files; None reads all. The built-in languages have no end and need it.
        seed: of the draw.

    Raises:
        UsageError: the source is none of the three, or has no such language; the message lists what exists.
        HarnessError: the data cannot be read.
    """
    where = _check_source(source)
    provenance: dict[str, str] = {"source": str(where)}
    if isinstance(where, Path):
        read = partial(folder.read_corpus, where, lang)
        return Corpus(read() if lines is None else sample_stream(read, lines, seed), provenance)
    if where == "hub":
        from harness.data import hub  # noqa: PLC0415  only the hub needs its libraries

        return Corpus(hub.read_corpus(lang, lines, provenance), provenance)
    from harness.data import builtin  # noqa: PLC0415

    if lines is None:
        raise UsageError(
            "corpus: expected a number of lines, since the built-in languages have no end; got none"
        )
    return Corpus(builtin.read_corpus(lang, lines, seed), provenance)


def open_task(
    source: DataSource,
    task: str,
    lang: str,
    sizes: Sizes = (None, None, None),
    seed: int = 0,
    *,
    strict: bool = False,
) -> TaskData | Absent:
    """Open a task in one language, or return why the source has none.

    Args:
        source: as for ``open_corpus``.
        task: its name.
        lang: code of the language.
        sizes: most examples of train, dev and test; None reads all. The built-in languages need all three.
        seed: of the choice.
        strict: whether data that has to be read otherwise than it is written is an error.

    Raises:
        UsageError: the source, the task or the language does not exist; the message lists what exists.
        HarnessError: the data cannot be read.
    """
    where = _check_source(source)
    if where == "builtin":
        return _open_builtin(task, lang, sizes, seed)
    if isinstance(where, Path):
        data = folder.read_task(where, task, lang, strict=strict)
    else:
        from harness.data import hub  # noqa: PLC0415

        data = hub.read_task(task, lang, strict=strict)
    return data if isinstance(data, Absent) else limit(data, *sizes, seed=seed)


def _open_builtin(task: str, lang: str, sizes: Sizes, seed: int) -> TaskData:
    from harness.data import builtin  # noqa: PLC0415

    train, dev, test = sizes
    if train is None or dev is None or test is None:
        raise UsageError(
            f"{task}: expected three sizes, since the built-in languages have no end; got {sizes}"
        )
    return builtin.read_task(task, lang, (train, dev, test), seed)


def _check_source(source: DataSource) -> DataSource:
    if isinstance(source, str) and source not in NAMES:
        raise unknown("data source", source, (*NAMES, "the path of a data folder"))
    return source
