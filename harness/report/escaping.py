"""Make text from data, file names and recipes safe in Markdown, HTML and terminals."""

from __future__ import annotations

import unicodedata

_MARKUP = {"\\": "\\\\", "`": "\\`", "|": "\\|", "[": "\\[", "]": "\\]", "<": "&lt;", ">": "&gt;", "\n": " "}
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reverse the text after them."""


def drop_control_characters(value: object) -> object:
    """Return a text without escape sequences and control characters; any other value as it is."""
    if not isinstance(value, str):
        return value
    unsafe = {
        ord(one): None
        for one in set(value)
        if one in _DIRECTIONS or (unicodedata.category(one) == "Cc" and one not in "\n\t")
    }
    return value.translate(unsafe) if unsafe else value  # a Markup stays a Markup


def escape_markdown(text: object) -> str:
    """Return a text that Markdown shows as it is, in a cell of a table too: no tag, link or image."""
    return "".join(_MARKUP.get(one, one) for one in str(text))


def escape_code(text: object) -> str:
    """Return a text that stays between two backticks, on one line, in a cell of a table too."""
    return str(text).replace("`", "'").replace("|", "\\|").replace("\n", " ")
