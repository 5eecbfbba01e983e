"""Explain faults of the machine in one line each: a full disk, a runs folder that cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError

FULL = (errno.ENOSPC, errno.EDQUOT)
_CUT_SHORT = "unexpected pos"
"""Part of the error of ``torch.save`` where not all bytes could be written."""
_LITTLE_BYTES = 1 << 20
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)
_DENIED = (errno.EACCES, errno.EPERM)


@contextmanager
def explain_disk_faults(stage: str, root: Path) -> Iterator[None]:
    """Turn a fault of the disk under `root` into one line; let any other exception pass unchanged."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        for cause in _list_causes(error):
            reason = _explain(cause, root)
            if reason:
                raise HarnessError(f"{stage}: {reason}") from error
        raise


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Return an error and its causes; libraries wrap the system's own error in theirs."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _explain(error: BaseException, root: Path) -> str | None:
    code = error.errno if isinstance(error, OSError) else None
    cut = _CUT_SHORT in str(error) and shutil.disk_usage(root).free < _LITTLE_BYTES
    if code in FULL or os.strerror(errno.ENOSPC) in str(error) or cut:
        path = Path(os.fsdecode(getattr(error, "filename", None) or ""))
        where = path.parent if path.is_absolute() and not _is_under(error, root) else root
        return describe_full_disk(where)
    if code == errno.EROFS or (code in _DENIED and _is_under(error, root)):
        reason = os.strerror(code or 0).lower()
        return f"cannot write in the runs folder {root} ({reason}); make it writable, or choose another"
    if code in _NO_FOLDER and _is_under(error, root):
        file = _find_file(Path(os.fsdecode(getattr(error, "filename", ""))))
        return f"expected {file or root} to be a folder of the runs; got a file of that name; move it away"
    return None


def describe_full_disk(place: Path) -> str:
    """Return what to do where a disk is full."""
    return (
        f"the disk of {place} is full; free some space and run the same command again: "
        "finished stages and checkpoints are kept"
    )


def _find_file(path: Path) -> Path | None:
    """Return the first part of a path that is no folder."""
    return next((one for one in (*reversed(path.parents), path) if one.exists() and not one.is_dir()), None)


def _is_under(error: BaseException, root: Path) -> bool:
    path = getattr(error, "filename", None)
    return path is not None and Path(os.fsdecode(path)).resolve().is_relative_to(root.resolve())
