"""Compute content digests of files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.config.digest import digest


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[str]:
    """Return the files under a folder as relative POSIX paths, sorted; links are followed."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def hash_path(path: Path) -> str:
    """Return a digest of a file's bytes, or of a folder's relative paths and their bytes.

    Invariants: equal contents have equal digests, whatever their place, times and owners. A folder's hidden
    files and notes (``*.md``), which no stage reads, are ignored.
    """
    if path.is_file():
        return hash_file(path)
    return digest({name: hash_file(path / name) for name in list_files(path) if not _is_ignored(name)})


def _is_ignored(name: str) -> bool:
    return name.endswith(".md") or any(part.startswith(".") for part in name.split("/"))
