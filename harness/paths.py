"""Paths that a file of a stranger names: they stay in the folder of that file, links included."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath


def is_relative_name(name: object) -> bool:
    """Return whether a name can only mean something below a folder: no ``..``, no root, no drive, no NUL."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not (path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts)


def stays_below(path: Path, folder: Path) -> bool:
    """Return whether a path, with all its links followed, is below a folder.

    A model in the cache of the hub consists of links into the cache's own folder ``blobs``, which may be
    followed too.
    """
    home, place = folder.resolve(), path.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else None
    return place.is_relative_to(home) or (blobs is not None and place.is_relative_to(blobs))
