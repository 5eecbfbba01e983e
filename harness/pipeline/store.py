"""Keep stages in ``<root>/<lang>/<recipe>-<scale>/<NN-id>-<key>/``; written in a sibling, then renamed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from harness.pipeline import lock
from harness.pipeline.checkpoints import drop_broken
from harness.pipeline.folders import flush, is_file, is_folder, list_entries, remove
from harness.pipeline.hashing import hash_file
from harness.pipeline.manifest import NAME, Manifest, Output
from harness.pipeline.mirror import open_mirror

PARTIAL, FETCHED = ".partial-", ".fetched-"
CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a stage's own folder, until the stage is finished."""
SET_ASIDE = ".set-aside"
"""The folder, in the runs folder, of what was added to finished stages."""


class Store:
    """The runs folder. A stage of one run serves every other run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mirror = open_mirror()

    def list_stages(self) -> list[Path]:
        """Return the folders of the finished stages of all runs, sorted; a file in the place of one too."""
        return sorted(self.root.glob("*/*/[0-9]*-*-*"))

    def index(self) -> dict[str, Path]:
        """Return the folders of all finished stages by key, each as `find` does; the store is listed once."""
        return {folder.name.rpartition("-")[2]: folder for folder in reversed(self.list_stages())}

    def find(self, key: str) -> Path | None:
        """Return the folder of the finished stage with a key, in whichever run it is."""
        return next(iter(sorted(self.root.glob(f"*/*/[0-9]*-{key}"))), None)

    def index_partial(self) -> dict[str, Path]:
        """Return the folders that unfinished stages have left, by key; the store is listed once."""
        folders = sorted(self.root.glob(f"*/*/{PARTIAL}[0-9]*-*"), reverse=True)
        return {folder.name.rpartition("-")[2]: folder for folder in folders}

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

    def set_aside(self, stage: Path, name: str) -> Path:
        """Move what was added to a finished stage out of its folder; return its new place."""
        target = self.root / SET_ASIDE / stage.name / name
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process was faster
            (stage / name).rename(target)
        return target


def open_partial(partial: Path) -> list[str]:
    """Empty a partial folder except for its whole checkpoints; return a line for each passed over."""
    if not is_folder(partial):
        remove(partial)
    partial.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        if path.name != CHECKPOINTS:
            remove(path)
    return drop_broken(partial / CHECKPOINTS)


def has_checkpoints(partial: Path) -> bool:
    """Return whether a partial folder has checkpoints to resume from."""
    checkpoints = partial / CHECKPOINTS
    return is_folder(checkpoints) and any(checkpoints.iterdir())


def seal(partial: Path) -> dict[str, Output]:
    """Hash every output in a partial folder and flush it to disk; checkpoints are not outputs.

    Raises:
        ValueError: a runner left something that is neither a file nor a folder, such as a link.
    """
    outputs = {}
    for name in sorted(list_entries(partial)):
        path = partial / name
        if name == NAME or name.split("/")[0] == CHECKPOINTS or is_folder(path):
            continue
        if not is_file(path):
            raise ValueError(f"{path}: expected files as the outputs of a stage; got something else")
        flush(path)
        outputs[name] = Output(sha256=hash_file(path), bytes=path.stat().st_size)
    _remove_empty_folders(partial, outputs)
    for folder in {(partial / name).parent for name in outputs}:
        flush(folder)
    return outputs


def _remove_empty_folders(partial: Path, outputs: Collection[str]) -> None:
    """Remove folders without outputs, which a manifest cannot list."""
    for name in sorted(list_entries(partial), reverse=True):
        own = name.endswith("/") and name.split("/")[0] != CHECKPOINTS
        if own and not any(output.startswith(name) for output in outputs):
            (partial / name).rmdir()


def write_manifest(partial: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    path = partial / f"{NAME}.part"
    path.write_text(manifest.to_text(), encoding="utf-8")
    flush(path)
    path.replace(partial / NAME)
    flush(partial)


def publish(partial: Path, final: Path) -> None:
    """Rename a sealed partial folder to its final place; remove a broken folder that is there.

    A kill at any point leaves either the finished stage, or a partial folder with a valid manifest, which the
    next run publishes.
    """
    remove(partial / CHECKPOINTS)
    remove(final)
    partial.rename(final)
    flush(final.parent)
