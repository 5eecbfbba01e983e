"""The folder that an export makes: whole or not at all, in the place of an earlier export only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.export.record import RECORD, is_export


def check_output_folder(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier export.

    Raises:
        HarnessError: it is a file, or a folder in use that ``harness export`` did not make.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())) or is_export(out):
        return
    got = "a folder in use that no export made" if out.is_dir() else "a file"
    raise HarnessError(
        f"--out {out}: expected a new or empty folder, or an earlier export; got {got}; name another"
    )


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Hand out an empty folder next to ``out``; at the end, move its files to ``out``.

    Invariants: an error leaves ``out`` as it was; ``out`` itself stays, since it may be the user's working
    directory; the record comes last.
    """
    out = out.resolve()
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        out.mkdir(exist_ok=True)
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in sorted(part.iterdir(), key=lambda path: path.name == RECORD):
            path.replace(out / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
