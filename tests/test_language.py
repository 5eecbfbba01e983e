"""Names, messages, comments and docs use the words of the field, none of the dictionary's banned words."""

from __future__ import annotations

import io
import itertools
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BANNED = re.compile(
    r"told|lessons?|proofs?|contests?|blueprints?|inside|readouts?|growth|moments|bridges?|judg(?:e|es|ed|ing)|"
    r"mend(?:s|ed|ing)?|anew|beside|stands|parted|heard|newborns?|wants|wanted|gives"
)
BANNED_AS_NAME = re.compile(rf"{BANNED.pattern}|found")
"""In a sentence 'found' is a verb; as a name it hides what was found."""

HEADINGS = ("Holds:", "What holds:")
"""The heading of invariants is ``Invariants:``."""

ALLOWED = {
    "not told apart": "a value in results.json and in the text of published studies",
    "Which recipe gives the best model?": "a text in the config of a stage, which the stage's key covers",
    "break-inside": "a property of CSS",
    "lesson=": "a key in signatures of published scores",
    "beside the whole text": "part of the key of a study's leaderboard",
    "gives a student more": "part of the key of a study's leaderboard",
    "gives more than distilling": "part of the key of a study's leaderboard",
    '"lesson"': "a key of the config and of the signature of a score",
    "speed_wanted": "a key of the records of the edge benchmark",
    "size_wanted_mb": "a key of the records of the edge benchmark",
    "times_told": "a key of the records of the trimming benchmark",
}

SUFFIXES = (
    ".py", ".md", ".j2", ".yaml", ".yml", ".toml", ".cpp", ".h", ".cu", ".cuh", ".js", ".html", ".css",
)  # fmt: skip
WITHOUT_SUFFIX = (
    "Makefile", "Dockerfile", "image", "reproduce", "runner", "slim", "run", "container", "aarch64",
)  # fmt: skip
FOLDERS = (".ci", ".github", "benchmarks", "csrc", "docker", "docs", "harness", "tests")
NOT_OURS = r"^benchmarks/records/.*\.md|/lexicons/|/node_modules/|tests/test_language\.py"
"""Measurements, words of other languages, libraries of others, and the list of banned words."""


def list_files() -> list[Path]:
    paths = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in ROOT.joinpath(folder).rglob("*"))]
    texts = [path for path in paths if path.suffix in SUFFIXES or path.name in WITHOUT_SUFFIX]
    names = {path: path.relative_to(ROOT).as_posix() for path in texts if path.is_file()}
    return sorted(path for path, name in names.items() if not re.search(NOT_OURS, name))


def split_words(text: str) -> list[str]:
    """Return the words of a text or an identifier in lower case."""
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", text)]


def check_name(name: str) -> list[str]:
    words = split_words(name)
    not_found = ("not", "found") in itertools.pairwise(words)
    return [word for word in words if BANNED_AS_NAME.fullmatch(word) and not (word == "found" and not_found)]


def check_python(source: str) -> list[tuple[int, str]]:
    """Return the line and the word of each violation in a Python source."""
    violations = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        check = check_name if token.type == tokenize.NAME else check_text
        violations += [(token.start[0], word) for word in check(token.string)]
    return violations


def check_text(text: str) -> list[str]:
    headings = [heading for heading in HEADINGS if re.search(rf"^\s*{heading}", text, re.MULTILINE)]
    return [word for word in split_words(text) if BANNED.fullmatch(word)] + headings


def check_file(path: Path) -> list[str]:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    if path.suffix == ".py":
        violations = check_python(text)
    else:
        lines = enumerate(text.splitlines(), 1)
        violations = [(number, word) for number, line in lines for word in check_text(line)]
    violations += [(0, word) for word in check_name(name)]
    return [f"{name}:{number}: {word}" for number, word in violations]


def test_no_banned_word_is_left():
    violations = [line for path in list_files() for line in check_file(path)]
    assert not violations, f"{len(violations)} banned words:\n" + "\n".join(violations[:50])


@pytest.mark.parametrize("name", ["told", "LessonPlan", "found", "what_is_wanted"])
def test_banned_words_are_seen_in_names(name):
    assert check_python(f"{name} = 1") != []


@pytest.mark.parametrize("line", ['"""It gives the path."""', "# beside the point", 'f"{x}: wanted a {y}"'])
def test_banned_words_are_seen_in_prose(line):
    assert check_python(f"{line}\n") != []


@pytest.mark.parametrize("line", ["FileNotFoundError", "# was found", '"speed_wanted"', "# a judgement"])
def test_other_words_are_let_through(line):
    assert check_python(f"{line}\n") == []
