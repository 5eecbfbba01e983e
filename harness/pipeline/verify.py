"""Re-reads every stage of every run and names what is not as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.pipeline import manifest
from harness.pipeline.store import Store


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the file or folder, and what is wrong with it."""

    path: Path
    problem: str


def verify(root: Path) -> list[Finding]:
    """Gives everything wrong in the runs folder; an empty list means that every byte is as it was written.

    A change of any byte of any output or manifest is found. What is found is rebuilt by the next run.
    """
    return [finding for folder in Store(root).list_stages() for finding in verify_stage(folder)]


def verify_stage(folder: Path) -> list[Finding]:
    """Gives everything wrong in one stage's folder."""
    try:
        written = manifest.read(folder)
    except ValueError as error:
        return [Finding(folder / manifest.NAME, str(error))]
    if not folder.name.endswith(f"-{written.key}"):
        return [Finding(folder, f"holds the stage {written.stage} with the key {written.key}")]
    return [Finding(path, problem) for path, problem in manifest.find_problems(folder, written)]
