"""What README and docs tell a reader to do exists: every link, every command, every option of one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from harness.cli import app
from harness.report.render import read_results, render_markdown

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


def text_of(page):
    return page.read_text(encoding="utf-8")


def commands_of(text):
    """Gives each command of a page as its program and its words."""
    lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in (*lines, *INLINE.findall(FENCE.sub("", text))):
        found = COMMAND.match(re.sub(r"\s+#.*$", "", line.strip()))
        if found:
            yield found[1], shlex.split(found[2] or "")


def slugs(text):
    """Gives the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def unknown_words(words):
    """Gives what of a harness command line does not exist: its command, or an option of it."""
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
    text = text_of(page)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in slugs(text_of(there)), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    rules = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    settings = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) | {"LANG"}
    for program, words in commands_of(text_of(page)):
        if program == "harness":
            assert unknown_words(words) == [], f"harness {' '.join(words)}"
        elif program == "make":
            names, values = (
                [word for word in words if "=" not in word],
                [w.split("=")[0] for w in words if "=" in w],
            )
            assert {name for name in names if not name.startswith("-")} <= rules, words
            assert set(values) <= settings | exported(), words
        elif program.startswith("python -m benchmarks"):
            main = ROOT / program.split()[-1].replace(".", "/") / "__main__.py"
            assert main.is_file(), program
            programs = re.findall(r'"([a-z]+)": \w+\.main', text_of(main))
            assert not programs or words[0] in programs, words


def exported():
    """Gives the settings that the Makefile only hands on."""
    line = re.search(r"^export ([A-Z_ ]+)$", MAKEFILE, re.MULTILINE)
    return set(line[1].split())


def test_the_reader_of_pages_sees_what_is_wrong():
    page = (
        "```\nharness reproduce mt --nowhere   # a remark\n```\nsee `make reproduce LANG=mt`, `harness fly`"
    )
    found = list(commands_of(page))
    assert found == [
        ("harness", ["reproduce", "mt", "--nowhere"]),
        ("make", ["reproduce", "LANG=mt"]),
        ("harness", ["fly"]),
    ]
    assert unknown_words(found[0][1]) == ["--nowhere"]
    assert unknown_words(found[2][1]) == ["fly"]
    assert unknown_words(["recipe", "show", "gurgurov2025", "--yaml"]) == []


def test_every_page_is_reached_from_the_front_door():
    readme = text_of(ROOT / "README.md")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, f"README does not name docs/{page.name}"


def not_recorded(section, records):
    """Gives the numbers with decimals that no number of the records is, to the digits shown."""
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


def told_by(record):
    """Gives a record as text; that of a run is what its report says."""
    return text_of(record) if record.suffix == ".md" else render_markdown(read_results(record))


def recorded_sections():
    """Gives the sections that name records, with the names; the page drawn from them is tested apart."""
    for page in (one for one in PAGES if one.name != "leaderboards.md"):
        for section in re.split(r"^## ", text_of(page), flags=re.MULTILINE):
            named = RECORD.findall(section)
            if named:
                name = f"{page.name}: {section.splitlines()[0]}"
                yield pytest.param(section, named, id=name)


@pytest.mark.parametrize(("section", "named"), list(recorded_sections()))
def test_what_a_page_copies_from_a_record_is_what_it_holds(section, named):
    records = "\n".join(told_by(ROOT / one) for one in named)
    assert not_recorded(section, records) == []


def test_a_number_that_no_record_holds_is_seen():
    records = "| 17.77x (9.02–30.01) | 1,088.72 | 3.40 |"
    assert not_recorded("17.8 (9.0–30.0) and 1,088.7, 3.4", records) == []
    assert not_recorded("17.9, 1,089.7 and 3.45", records) == ["17.9", "1,089.7", "3.45"]
