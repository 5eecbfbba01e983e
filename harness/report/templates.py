"""The templates of reports and cards, with what makes text from elsewhere safe in each of them."""

from __future__ import annotations

from pathlib import Path

import jinja2

from harness.report.escaping import drop_control_characters, escape_code, escape_markdown
from harness.report.tables import format_percent
from harness.units import format_bytes, format_short

FOLDER = Path(__file__).parent


def load_templates(*folders: Path) -> jinja2.Environment:
    """Return the templates of the folders and of the report; all of them can use ``table.md.j2``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, FOLDER]),
        autoescape=lambda name: name is not None and ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=drop_control_characters,
    )
    environment.filters |= {
        "markdown": escape_markdown,
        "code": escape_code,
        "size": format_bytes,
        "short": format_short,
        "percent": format_percent,
    }
    return environment
