"""Read every stage of every run again, and list the files that are not as they were written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.pipeline import manifest
from harness.pipeline.folders import is_folder
from harness.pipeline.store import Store


@dataclass(frozen=True)
class Finding:
    """A damaged file or folder, and the damage."""

    path: Path
    problem: str


def verify(root: Path) -> list[Finding]:
    """Return all damage in the runs folder; an empty list means that every byte is as it was written.

    A change of any byte of any output or manifest is detected, and so is all that a manifest does not list.
    The next run repairs it.
    """
    return [finding for folder in Store(root).list_stages() for finding in verify_stage(folder)]


def verify_stage(folder: Path) -> list[Finding]:
    """Return all damage in one stage's folder."""
    if not is_folder(folder):
        return [Finding(folder, "is no folder: a stage was there")]
    try:
        written = manifest.read(folder)
    except ValueError as error:
        return [Finding(folder / manifest.NAME, str(error))]
    if not folder.name.endswith(f"-{written.key}"):
        return [Finding(folder, f"contains the stage {written.stage} with the key {written.key}")]
    problems = [Finding(path, problem) for path, problem in manifest.find_problems(folder, written)]
    unlisted = manifest.list_unlisted(folder, written)
    return problems + [Finding(folder / name, "is not in the manifest") for name in unlisted]
