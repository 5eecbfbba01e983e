"""Keep stages in ``<root>/<lang>/<recipe>-<scale>/<NN-id>-<key>/``; written in a sibling, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from harness.pipeline import lock
from harness.pipeline.hashing import hash_file, list_files
from harness.pipeline.manifest import NAME, Manifest, Output

PARTIAL = ".partial-"
CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a stage's own folder, until the stage is finished."""


class Store:
    """The runs folder. A stage of one run serves every other run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list_stages(self) -> list[Path]:
        """Return the folders of the finished stages of all runs, sorted."""
        return sorted(path for path in self.root.glob("*/*/[0-9]*-*-*") if path.is_dir())

    def find(self, key: str) -> Path | None:
        """Return the folder of the finished stage with a key, in whichever run it is."""
        return next(iter(sorted(self.root.glob(f"*/*/[0-9]*-{key}"))), None)

    def find_partial(self, key: str) -> Path | None:
        """Return the folder that an unfinished stage with a key has left."""
        return next(iter(sorted(self.root.glob(f"*/*/{PARTIAL}[0-9]*-{key}"))), None)

    def place(self, folder: str, name: str, key: str) -> tuple[Path, Path]:
        """Return the folder in which a stage is written, and its final folder.

        An existing folder, finished or partial, keeps its place, even if it belongs to another run.

        Args:
            folder: the run's own folder under the root, as ``mt/gurgurov2025-mini``.
            name: the stage's number and id, as ``03-distill``.
            key: the stage's key.
        """
        partial, final = self.find_partial(key), self.find(key)
        if final is None and partial is not None:
            final = partial.with_name(partial.name.removeprefix(PARTIAL))
        final = final or self.root / folder / f"{name}-{key}"
        return partial or final.with_name(PARTIAL + final.name), final

    def lock(self, key: str, waiting: Callable[[str], None]) -> AbstractContextManager[None]:
        """Return the lock of a key, to be held while the stage runs."""
        return lock.hold(self.root / ".locks" / f"{key}.lock", waiting)


def open_partial(partial: Path) -> bool:
    """Empty a partial folder except for its checkpoints; return whether there are any to resume from."""
    partial.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        if path.name != CHECKPOINTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    checkpoints = partial / CHECKPOINTS
    return checkpoints.is_dir() and any(checkpoints.iterdir())


def seal(partial: Path) -> dict[str, Output]:
    """Hash every output in a partial folder and flush it to disk; checkpoints are not outputs."""
    outputs = {}
    for name in list_files(partial):
        if name == NAME or name.split("/")[0] == CHECKPOINTS:
            continue
        path = partial / name
        _flush(path)
        outputs[name] = Output(sha256=hash_file(path), bytes=path.stat().st_size)
    for folder in {(partial / name).parent for name in outputs}:
        _flush(folder)
    return outputs


def write_manifest(partial: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    path = partial / f"{NAME}.part"
    path.write_text(manifest.to_text(), encoding="utf-8")
    _flush(path)
    path.rename(partial / NAME)
    _flush(partial)


def publish(partial: Path, final: Path) -> None:
    """Rename a sealed partial folder to its final place; remove a broken folder that is there.

    A kill at any point leaves either the finished stage, or a partial folder with a valid manifest, which the
    next run publishes.
    """
    shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _flush(final.parent)


def _flush(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
