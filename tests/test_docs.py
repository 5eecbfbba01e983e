"""Every link, command and option in README and docs exists, and every copied figure is in its record."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from harness.cli import app
from harness.report.render import render_markdown
from harness.report.results import read_results

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "csrc" / "README.md"])
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
COMMAND = re.compile(
    r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(harness|make|python -m (?:benchmarks|pytest)\S*)(?: (.*))?$"
)
RECORD = re.compile(r"\]\((?:\.\./)?(benchmarks/records/[\w.-]+\.(?:md|json))\)")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def read_page(page):
    return page.read_text(encoding="utf-8")


def find_commands(text):
    """Yield each command of a page as its program and its words."""
    lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in (*lines, *INLINE.findall(FENCE.sub("", text))):
        match = COMMAND.match(re.sub(r"\s+#.*$", "", line.strip()))
        if match:
            yield match[1], shlex.split(match[2] or "")


def slugs(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def unknown_words(words):
    """Return the command or the options of a harness command line that do not exist."""
    command = typer.main.get_command(app)
    known, strange = set(), []
    for position, word in enumerate(words):
        if hasattr(command, "commands") and not word.startswith("-"):
            command = command.commands.get(word)
            if command is None:
                return [] if word.isupper() else [word]
        else:
            known |= {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            if word.startswith("-") and word not in {*known, "--help"} and position > 0:
                strange.append(word)
    return strange


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = read_page(page)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in slugs(read_page(there)), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    rules = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    settings = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) | {"LANG"}
    for program, words in find_commands(read_page(page)):
        if program == "harness":
            assert unknown_words(words) == [], f"harness {' '.join(words)}"
        elif program == "make":
            names, values = (
                [word for word in words if "=" not in word],
                [w.split("=")[0] for w in words if "=" in w],
            )
            assert {name for name in names if not name.startswith("-")} <= rules, words
            assert set(values) <= settings | list_exported_settings(), words
        elif program.startswith("python -m benchmarks"):
            main = ROOT / program.split()[-1].replace(".", "/") / "__main__.py"
            assert main.is_file(), program
            programs = re.findall(r'"([a-z]+)": \w+\.main', read_page(main))
            assert not programs or words[0] in programs, words


def list_exported_settings():
    """Return the settings that the Makefile only exports."""
    line = re.search(r"^export ([A-Z_ ]+)$", MAKEFILE, re.MULTILINE)
    return set(line[1].split())


def test_unknown_commands_and_options_are_noticed():
    page = (
        "```\nharness reproduce mt --nowhere   # a remark\n```\nsee `make reproduce LANG=mt`, `harness fly`"
    )
    commands = list(find_commands(page))
    assert commands == [
        ("harness", ["reproduce", "mt", "--nowhere"]),
        ("make", ["reproduce", "LANG=mt"]),
        ("harness", ["fly"]),
    ]
    assert unknown_words(commands[0][1]) == ["--nowhere"]
    assert unknown_words(commands[2][1]) == ["fly"]
    assert unknown_words(["recipe", "show", "gurgurov2025", "--yaml"]) == []


def test_readme_names_every_page():
    readme = read_page(ROOT / "README.md")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, f"README does not name docs/{page.name}"


def find_unrecorded(section, records):
    """Return the numbers with decimals that equal no number of the records, to the digits shown."""
    known = [float(one.replace(",", "")) for one in NUMBER.findall(records)]
    shown = [one for one in NUMBER.findall(section) if "." in one]
    return [
        one
        for one in shown
        if not any(
            abs(number - float(one.replace(",", ""))) <= 0.5 * 10.0 ** -len(one.partition(".")[2]) + 1e-9
            for number in known
        )
    ]


def render_record(record):
    """Return a record as text; for a run the text of its report."""
    return read_page(record) if record.suffix == ".md" else render_markdown(read_results(record))


def list_recorded_sections():
    """Yield the sections that name records, with the names, except for the generated page of leaderboards."""
    for page in (one for one in PAGES if one.name != "leaderboards.md"):
        for section in re.split(r"^## ", read_page(page), flags=re.MULTILINE):
            named = RECORD.findall(section)
            if named:
                name = f"{page.name}: {section.splitlines()[0]}"
                yield pytest.param(section, named, id=name)


@pytest.mark.parametrize(("section", "named"), list(list_recorded_sections()))
def test_figures_equal_their_records(section, named):
    records = "\n".join(render_record(ROOT / one) for one in named)
    assert find_unrecorded(section, records) == []


def test_wrong_figures_are_noticed():
    records = "| 17.77x (9.02–30.01) | 1,088.72 | 3.40 |"
    assert find_unrecorded("17.8 (9.0–30.0) and 1,088.7, 3.4", records) == []
    assert find_unrecorded("17.9, 1,089.7 and 3.45", records) == ["17.9", "1,089.7", "3.45"]
