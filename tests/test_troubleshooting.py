"""The troubleshooting page has a row for each first word of a message, and no other row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ERRORS = {"HarnessError", "UsageError"}
PREFIXED = "refuse_in_one_line"  # the lines under it begin with its argument
NAME = "…"


def find_first_words(source):
    """Yield the first words of the messages in a module, ``…`` where it is a name of the run."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        if called == "unknown":
            yield "unknown"
        elif called in ERRORS or (called == PREFIXED and isinstance(node.args[0], ast.Constant)):
            yield read_first_word(node.args[0])


def read_first_word(message):
    """Return the first word of a message."""
    first = message.values[0] if isinstance(message, ast.JoinedStr) else message
    if not isinstance(first, ast.Constant):
        return NAME
    return re.match(r"[\w.-]+", first.value)[0]


def list_words_of_the_code():
    return {
        one for path in (ROOT / "harness").rglob("*.py") for one in find_first_words(path.read_text("utf-8"))
    }


def list_words_of_the_page():
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    table = page.split("## Other messages")[0]
    return {row[1] for row in re.finditer(r"^\| `([^`]+)`", table, re.MULTILINE)}


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ('raise HarnessError("trim: expected x")', "trim"),
        ('raise UsageError(f"--data {data}: expected x")', "--data"),
        ('raise errors.HarnessError(f"{path}: expected x")', NAME),
        ("raise type(error)(text); raise HarnessError(line(error))", NAME),
        ('raise unknown("task", name, TASKS)', "unknown"),
        ('with refuse_in_one_line("fit_head"): pass', "fit_head"),
    ],
)
def test_first_words_are_read(source, word):
    assert set(find_first_words(source)) == {word}


def test_every_first_word_has_a_row():
    missing = list_words_of_the_code() - list_words_of_the_page()
    assert not missing, (
        f"docs/troubleshooting.md: expected rows for messages that begin with {sorted(missing)}"
    )


def test_every_row_has_a_message():
    gone = list_words_of_the_page() - list_words_of_the_code()
    assert not gone, f"docs/troubleshooting.md: no message begins with {sorted(gone)}; remove the rows"
