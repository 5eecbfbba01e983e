"""Faults of the machine as one line each: a full disk, a runs folder that cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)
_DENIED = (errno.EACCES, errno.EPERM)


@contextmanager
def explained(stage: str, root: Path) -> Iterator[None]:
    """Turns a fault of the disk under `root` into one line; any other fault passes as it is."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        for cause in _chain(error):
            reason = _explain(cause, root)
            if reason:
                raise HarnessError(f"{stage}: {reason}") from error
        raise


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Gives an error and what caused it; libraries wrap the system's own error in theirs."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _explain(error: BaseException, root: Path) -> str | None:
    code = error.errno if isinstance(error, OSError) else None
    if code in _FULL or os.strerror(errno.ENOSPC) in str(error):
        path = Path(os.fsdecode(getattr(error, "filename", None) or ""))
        where = path.parent if path.is_absolute() and not _is_inside(error, root) else root
        return (
            f"the disk of {where} is full; free some space and run the same command again: "
            "finished stages and checkpoints are kept"
        )
    if code == errno.EROFS or (code in _DENIED and _is_inside(error, root)):
        reason = os.strerror(code or 0).lower()
        return f"cannot write in the runs folder {root} ({reason}); make it writable, or choose another"
    if code in _NO_FOLDER and _is_inside(error, root):
        return f"wanted {root} to be the runs folder; a file stands in its way; choose another"
    return None


def _is_inside(error: BaseException, root: Path) -> bool:
    path = getattr(error, "filename", None)
    return path is not None and Path(os.fsdecode(path)).resolve().is_relative_to(root.resolve())
