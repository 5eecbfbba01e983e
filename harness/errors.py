"""Errors that a user can fix. Each is one line: where, what was expected, what was got, what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "Failed to allocate memory")
"""Parts of the messages of torch's allocator on a CPU, of CUDA, of its libraries, and of ONNX Runtime."""


class HarnessError(Exception):
    """An error that the user can fix; its text is the one line that the user reads.

    Attributes:
        exit_code: of the command.
    """

    exit_code = 1


class UsageError(HarnessError):
    """The command line is wrong: a missing or unknown argument."""

    exit_code = 2


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or its GPU had no memory left; most libraries say so in words alone."""
    if isinstance(error, HarnessError):
        return error.__cause__ is not None and is_out_of_memory(error.__cause__)
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    in_words = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (in_words and any(words in str(error) for words in _NO_MEMORY))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type where the text is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name; it lists the known names and suggests the nearest.

    Args:
        kind: of thing that the name should refer to, e.g. ``"language"``.
        name: the unknown name.
        known: the names that exist.
    """
    names = [str(one) for one in known]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'; there are: {', '.join(names) or 'none'}.{hint}")
