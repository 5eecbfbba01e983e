"""A kept record of a run or a study, and the pages of docs that are drawn from records."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.programs import make_parser
from harness.errors import HarnessError
from harness.report.results import Results
from harness.report.templates import load_templates


@dataclass(frozen=True)
class Recorded:
    """A record.

    Attributes:
        path: of its file.
        results: its results.
    """

    path: Path
    results: Results

    @property
    def commit(self) -> str:
        """The short hash of the code's commit."""
        return str(self.results.environment["commit"])[:7]

    @property
    def machine(self) -> str:
        """The processor and the number of cores."""
        about = self.results.environment
        return f"{about['cpu']}, {about['cores']} core{'s' if about['cores'] != 1 else ''}"

    @property
    def picture(self) -> Path | None:
        """The picture of the record, if any."""
        drawn = self.path.with_suffix(".svg")
        return drawn if drawn.is_file() else None


def render_page(template: Path, **values: object) -> str:
    """Return a page of docs as Markdown, without empty lines in a row."""
    text = load_templates(template.parent).get_template(template.name).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def write_page(
    program: str, description: str | None, given: Sequence[str] | None, page: Path, draw: Callable[[], str]
) -> int:
    """Write a page of docs; print a fault in one line, with exit code 2.

    Args:
        program: as on the command line.
        description: of the program, for its help.
        given: the program's arguments.
        page: the file.
        draw: returns its text.
    """
    make_parser(program, description).parse_args(given)
    try:
        page.write_text(draw(), encoding="utf-8", newline="\n")
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    print(page)
    return 0
