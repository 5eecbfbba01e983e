"""The page of cures: a row for each beginning that a message can have, and no row besides."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ERRORS = {"HarnessError", "UsageError"}
NAME = "…"


def beginnings(source):
    """Gives how the messages in a module begin: the first word, ``…`` where a run gives the name."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        if called == "unknown":
            yield "unknown"
        elif called in ERRORS:
            yield beginning(node.args[0])


def beginning(message):
    """Gives the first word of one message."""
    first = message.values[0] if isinstance(message, ast.JoinedStr) else message
    if not isinstance(first, ast.Constant):
        return NAME
    return re.match(r"[\w.-]+", first.value)[0]


def in_the_code():
    return {one for path in (ROOT / "harness").rglob("*.py") for one in beginnings(path.read_text("utf-8"))}


def on_the_page():
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    table = page.split("## Other ends")[0]
    return {row[1] for row in re.finditer(r"^\| `([^`]+)`", table, re.MULTILINE)}


@pytest.mark.parametrize(
    ("source", "begins"),
    [
        ('raise HarnessError("trim: wanted x")', "trim"),
        ('raise UsageError(f"--data {data}: wanted x")', "--data"),
        ('raise errors.HarnessError(f"{path}: wanted x")', NAME),
        ("raise type(error)(text); raise HarnessError(line(error))", NAME),
        ('raise unknown("task", name, TASKS)', "unknown"),
    ],
)
def test_a_message_is_known_by_its_first_word(source, begins):
    assert set(beginnings(source)) == {begins}


def test_every_message_that_begins_so_has_a_row():
    missing = in_the_code() - on_the_page()
    assert not missing, f"docs/troubleshooting.md: wanted rows for messages that begin with {sorted(missing)}"


def test_no_row_tells_of_a_message_that_is_gone():
    gone = on_the_page() - in_the_code()
    assert not gone, f"docs/troubleshooting.md: no message begins with {sorted(gone)}; remove the rows"
