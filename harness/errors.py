"""The faults a user can mend. Each is one line: where, what was wanted, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """A fault the user can mend; its text is the one line the user reads.

    Attributes:
        exit_code: what the command exits with.
    """

    exit_code = 1


class UsageError(HarnessError):
    """The command itself was wrong: a missing or unknown argument."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Gives what an error says in its first line, or its type's name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Gives the error for a name that does not exist; holds every name that does, and the nearest one.

    Args:
        kind: what the name should have named, e.g. ``"language"``.
        name: the name that came.
        known: the names that exist.
    """
    names = [str(one) for one in known]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'; there are: {', '.join(names) or 'none'}.{hint}")
