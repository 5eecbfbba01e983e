"""Make the text of a data folder from a web corpus: plan the work, and run it on an executor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.config.digest import digest
from harness.data.leakage import read_scored_texts
from harness.data.web.document_selection import DocumentSelection
from harness.data.web.records import SourceFile, list_files
from harness.data.web.workspace import Workspace, write_record
from harness.errors import HarnessError, UsageError

MOST_TASKS = 500
"""More files than tasks are shared out: the second stage of MinHash opens a file of each task at once."""


@dataclass(frozen=True)
class CorpusRequest:
    """What `harness corpus` is asked for.

    Attributes:
        files: of the web corpus.
        selection: the languages, and where their labels are.
        out: the data folder to write to.
        scored: the texts that must not be in it.
    """

    files: Sequence[SourceFile]
    selection: DocumentSelection
    out: Path
    scored: Sequence[str]

    @property
    def languages(self) -> list[str]:
        """The languages to write."""
        return list(self.selection.labels.accepted)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the text besides the sources, for the manifest."""
        selection = self.selection
        return {
            "labels": {
                language: ["_".join(filter(None, label)) for label in labels]
                for language, labels in selection.labels.accepted.items()
            },
            "text_field": selection.text_field,
            "label_field": selection.label_field,
            "unlabelled": selection.unlabelled,
            "scored_texts": len(self.scored),
            "scored_sha256": digest(list(self.scored)),
            "versions": {name: version(name) for name in ("datatrove", "zstandard")},
        }

    @property
    def workspace(self) -> Workspace:
        """The folder to work in; other sources or settings have another."""
        stats = [(file.name, str(file.path), file.path.stat()) for file in self.files]
        sources = [(name, path, stat.st_size, stat.st_mtime_ns) for name, path, stat in stats]
        return Workspace(self.out.absolute(), digest([sources, self.settings]))


def request_corpus(
    sources: Sequence[Path], selection: DocumentSelection, data: Path | None, out: Path
) -> CorpusRequest:
    """Check what is asked for, before anything is read for long.

    Args:
        sources: files and folders of the web corpus.
        selection: of the documents.
        data: a data folder with tasks whose dev and test texts must not be in the text.
        out: the data folder to write to; it may be the same.

    Raises:
        HarnessError: a source is missing, a task cannot be read, or a language has text already.
    """
    files = list_files(sources)
    if data is not None and not data.is_dir():
        raise UsageError(f"--data: expected a data folder with tasks; got none at {data}; correct the path")
    scored = sorted(read_scored_texts(data)) if data is not None else []
    request = CorpusRequest(files, selection, out, scored)
    workspace = request.workspace
    for language in request.languages:
        target = workspace.target(language)
        if target.exists() and not workspace.is_finished(language):
            raise HarnessError(
                f"{target}: expected no text yet, or text made from the same sources and settings; got other "
                "files; remove them, or choose another --out"
            )
    return request


def is_finished(request: CorpusRequest) -> bool:
    """Return whether the text of all languages is in its place."""
    return all(map(request.workspace.is_finished, request.languages))


def build_corpus(
    request: CorpusRequest,
    executor: str,
    workers: int,
    report: Callable[[str], None],
    slurm: tuple[str, str] | None = None,
) -> None:
    """Make the text of all languages; what an earlier attempt has finished is not made again.

    Args:
        request: what to make.
        executor: ``local``, ``slurm`` or ``ray``.
        workers: the most tasks at once.
        report: called with lines of progress.
        slurm: the partition and the time limit of Slurm's jobs.

    Raises:
        HarnessError: a source is broken, a language has no text, or the executor fails.
    """
    from harness.data.web import datatrove_executors  # noqa: PLC0415  the only importers of datatrove
    from harness.data.web.pipelines import plan_stages  # noqa: PLC0415

    workspace = request.workspace
    write_record(workspace.scored_texts, list(request.scored))
    stages = plan_stages(request, min(len(request.files), MOST_TASKS))
    logs = workspace.root / "tasks"
    if executor == "slurm":
        partition, time = slurm or ("", "")
        report(f"last job: {datatrove_executors.submit_stages(stages, logs, workers, partition, time)}")
        return
    if executor == "ray":
        datatrove_executors.run_stages_on_ray(stages, logs, workers, report)
    else:
        datatrove_executors.run_stages(stages, logs, workers, report)
    shutil.rmtree(workspace.root)
