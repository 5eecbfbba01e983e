"""Keep finished stages in a bucket too, from which other machines fetch them; work and locks stay local."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, first_line
from harness.pipeline import manifest
from harness.pipeline.folders import remove
from harness.pipeline.manifest import NAME, Manifest

VARIABLE = "HARNESS_MIRROR"
"""The variable with the mirror's address, as ``s3://bucket/prefix``; workers and jobs inherit it."""


class DamagedError(Exception):
    """A stage of a mirror is not as it was written."""


class Mirror:
    """Stages in a bucket: each file once by its SHA-256, and a manifest for each key.

    Invariants: a manifest is written after all its files, and only where there is none: of two machines that
    finish a stage the first keeps its own. A file's name is its hash, so that no file is replaced by another.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system of fsspec, and the path in it."""
        import fsspec  # noqa: PLC0415 - an extra

        options = {"auto_mkdir": True} if self.address.startswith(("file:", "local:")) else {}
        system, root = fsspec.core.url_to_fs(self.address, **options)
        return system, root.rstrip("/")

    def check(self) -> None:
        """Check that the bucket exists and can be written.

        Raises:
            HarnessError: it does not, it cannot be, or the package for such addresses is not installed.
        """
        with self._explain():
            system, root = self._place
            system.pipe_file(f"{root}/format", b"1\n")

    def fetch(self, key: str, folder: Path) -> Manifest | None:
        """Write the stage with a key into a new folder; return its manifest, or None without such a stage.

        Raises:
            DamagedError: the manifest or a file is not as it was written; the folder is removed.
            HarnessError: the bucket cannot be read.
        """
        with self._explain():
            system, root = self._place
            remove(folder)
            folder.mkdir(parents=True)
            try:
                (folder / NAME).write_bytes(system.cat_file(f"{root}/stages/{key}/{NAME}"))
            except FileNotFoundError:
                remove(folder)
                return None
            try:
                written = manifest.read(folder)
                for name, output in written.outputs.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    system.get_file(f"{root}/files/{output.sha256}", str(folder / name))
                problems = manifest.find_problems(folder, written)
                if problems or written.key != key:
                    raise ValueError(f"{problems[0][0].name} {problems[0][1]}" if problems else "another key")
            except (FileNotFoundError, ValueError) as error:
                remove(folder)
                raise DamagedError(f"{self.address}: {first_line(error)}") from error
            return written

    def deliver(self, folder: Path, written: Manifest, *, replace: bool = False) -> None:
        """Upload a finished stage, unless the bucket has it; `replace` what is damaged there.

        Raises:
            HarnessError: the bucket cannot be written; the stage stays on the local disk.
        """
        with self._explain():
            system, root = self._place
            target = f"{root}/stages/{written.key}/{NAME}"
            if not replace and system.exists(target):
                return
            for name, output in written.outputs.items():
                file = f"{root}/files/{output.sha256}"
                if replace or not system.exists(file):
                    system.put_file(str(folder / name), file)
            try:
                mode = "overwrite" if replace else "create"
                system.pipe_file(target, (folder / NAME).read_bytes(), mode=mode)
            except OSError:
                if replace or not system.exists(target):
                    raise  # else another machine was first

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Turn an error of the bucket into one line; libraries have their own kinds of them."""
        try:
            yield
        except (HarnessError, DamagedError):
            raise
        except ImportError as error:
            raise HarnessError(
                f"mirror {self.address}: expected the package for such addresses; got '{first_line(error)}'; "
                "pip install 'harness-encoders[bucket]'"
            ) from error
        except Exception as error:
            got = first_line(error) or type(error).__name__
            raise HarnessError(
                f"mirror {self.address}: expected a bucket that can be read and written; got '{got}'; "
                "correct it, and run the same command again: finished stages are kept"
            ) from error


def open_mirror() -> Mirror | None:
    """Return the mirror that the environment names, if any."""
    address = os.environ.get(VARIABLE)
    return Mirror(address) if address else None
