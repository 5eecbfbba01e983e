"""The folder in which a corpus is made: what its tasks leave for each other until it is finished."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.json_files import read_json, write_json

_MARK = ".made-from"


def write_record(path: Path, value: Any) -> None:
    """Write a JSON file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    write_json(part, value)
    part.replace(path)


@dataclass(frozen=True)
class Workspace:
    """The places of a corpus that is being made.

    Attributes:
        out: the data folder.
        fingerprint: of the sources and settings; another has another workspace.
    """

    out: Path
    fingerprint: str

    @property
    def root(self) -> Path:
        """The folder itself, in the data folder; removed at the end, but for jobs of Slurm."""
        return self.out / f".corpus-{self.fingerprint[:16]}"

    @property
    def scored_texts(self) -> Path:
        """The file of the texts that no corpus may contain."""
        return self.root / "scored.json"

    def digests(self, rank: int) -> Path:
        """Return the record of the digests of a task's files."""
        return self.root / "digests" / f"{rank:05d}.json"

    def reading(self, rank: int) -> Path:
        """Return the record of what a task read."""
        return self.root / "digests" / f"{rank:05d}.read.json"

    def writing(self, rank: int) -> Path:
        """Return the record of what a task wrote."""
        return self.root / "digests" / f"{rank:05d}.written.json"

    def shards(self, language: str) -> Path:
        """Return the folder of a language's files before they are in their place."""
        return self.root / "shards" / language

    def target(self, language: str) -> Path:
        """Return the place of a language's files."""
        return self.out / "corpus" / language

    def clear(self) -> None:
        """Remove all but the records and logs of the tasks, which are small."""
        for folder in ("signatures", "matches", "removed", "shards"):
            shutil.rmtree(self.root / folder, ignore_errors=True)

    def mark(self, folder: Path) -> None:
        """Write into a folder what it was made from."""
        (folder / _MARK).write_text(self.fingerprint, encoding="utf-8")

    def is_finished(self, language: str) -> bool:
        """Return whether a language's files are in their place, made from the same."""
        mark = self.target(language) / _MARK
        return mark.is_file() and mark.read_text(encoding="utf-8") == self.fingerprint

    def list_labels(self) -> str:
        """Return the labels that were read, the most frequent first, for people."""
        labels: Counter[str] = Counter()
        for path in sorted(self.root.glob("digests/*.read.json")):
            labels.update(read_json(path)["labels"])
        return ", ".join(f"{label} ({count})" for label, count in labels.most_common(10)) or "nothing"
