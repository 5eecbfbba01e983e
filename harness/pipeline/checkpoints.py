"""Checkpoints of an unfinished stage: each is a folder with a manifest of its own, or it does not count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config.digest import digest
from harness.pipeline.folders import flush, is_file, is_folder, list_entries, remove
from harness.pipeline.hashing import hash_file

NAME = "checkpoint.json"
"""The manifest of a checkpoint: the SHA-256 of each of its files."""


class CannotResumeError(Exception):
    """A training could not be resumed from a whole checkpoint, such as one of another torch version."""


def seal_checkpoint(folder: Path) -> None:
    """Write the manifest of a checkpoint, after all its files are on the disk.

    Invariants: a checkpoint with a manifest was whole on the disk when the manifest was written; a power cut
    at any moment leaves a checkpoint without a manifest, or a whole one.
    """
    names = sorted(name for name in list_entries(folder) if name != NAME)
    for name in names:
        flush(folder / name)
    flush(folder)
    files = {name: hash_file(folder / name) for name in names if not name.endswith("/")}
    part = folder / f"{NAME}.part"
    part.write_text(json.dumps({"files": files, "digest": digest(files)}), encoding="utf-8")
    flush(part)
    part.replace(folder / NAME)
    flush(folder)
    flush(folder.parent)


def is_sealed(folder: Path) -> bool:
    """Return whether a checkpoint has a manifest."""
    return is_file(folder / NAME)


def drop_broken(root: Path) -> list[str]:
    """Remove from a folder of checkpoints all that is not a whole checkpoint; return a line for each.

    Invariants: what is left below the folder are checkpoints, every byte as it was written.
    """
    if not is_folder(root):
        remove(root)
        return []
    lines = []
    for path in sorted(root.iterdir()):
        if _is_group(path):
            lines += drop_broken(path)
            if not any(path.iterdir()):
                path.rmdir()
            continue
        problem = _find_problem(path)
        if problem is not None:
            lines.append(f"{path.name} {problem}: it is passed over")
            remove(path)
    return lines


def _is_group(path: Path) -> bool:
    """Return whether a folder is not a checkpoint itself, but may hold some."""
    return is_folder(path) and all(is_folder(entry) for entry in path.iterdir())


def _find_problem(path: Path) -> str | None:
    """Return the damage of a checkpoint; None for a whole checkpoint."""
    if not is_folder(path):
        return "is no checkpoint"
    if not is_sealed(path):
        return "was not written to its end"
    try:
        damage = next(_list_damage(path, _read_files(path / NAME)), None)
        return damage and f"is damaged ({damage})"
    except OSError as error:
        return f"is damaged ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"is damaged ({NAME} is not as it was written)"


def _list_damage(path: Path, files: dict[str, str]) -> Iterator[str]:
    """Yield how a checkpoint differs from its manifest."""
    present = set(list_entries(path)) - {NAME}
    for name in sorted(files):
        if name not in present or not is_file(path / name):
            yield f"{name} is missing"
        elif hash_file(path / name) != files[name]:
            yield f"{name} has other bytes than were written"
    parents = {f"{parent.as_posix()}/" for name in files for parent in Path(name).parents}
    yield from (f"{name} was added" for name in sorted(present - set(files) - parents))


def _read_files(path: Path) -> dict[str, str]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    files: dict[str, str] = content["files"]
    if digest(files) != content["digest"]:
        raise ValueError(f"{NAME} is not as it was written")
    return files
