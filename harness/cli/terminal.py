"""Terminals that cannot show every character: each is replaced by one that every terminal shows."""

from __future__ import annotations

import codecs
import sys

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "‐": "-", "·": ".", "•": "*", "…": "...", "×": "x", "±": "+-", "≤": "<=",
    "≥": ">=", "≈": "~", "→": "->", "←": "<-", "Δ": "d", "√": "sqrt", "‘": "'", "’": "'", "“": '"', "”": '"',
    "✓": "+", "✔": "+", "✗": "x", "✘": "x", "\u00a0": " ", "\u202f": " ", "²": "^2",
}  # fmt: skip
_LINES = {"─": "-", "━": "-", "═": "-", "│": "|", "┃": "|", "║": "|"}
_HANDLER = "harness.plain"


def prepare_terminal() -> None:
    """Let standard output and standard error replace the characters that their encoding lacks."""
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_make_plain, error.object[error.start : error.end])), error.end


def _make_plain(character: str) -> str:
    """Return typography as ASCII, frames and bars as signs, and any other character as its escape."""
    if character in _PLAIN:
        return _PLAIN[character]
    if "\u2500" <= character <= "\u257f":
        return _LINES.get(character, "+")
    if "\u2580" <= character <= "\u259f" or "\u2800" <= character <= "\u28ff":
        return "#"
    return character.encode("ascii", "backslashreplace").decode()
