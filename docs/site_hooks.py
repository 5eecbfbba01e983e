"""Make the links that leave `docs/` work on the site: to the repository, or to a copied figure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
FIGURES = "benchmarks/records"
_LINK = re.compile(r"\]\(\.\./(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the figures of the records to the site."""
    for path in sorted((ROOT / FIGURES).glob("*.svg")):
        files.append(File.generated(config, f"{FIGURES}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let links to other files of the repository lead there.

    Raises:
        PluginError: there is no such file.
    """

    def replace(link: re.Match[str]) -> str:
        path, anchor = link["path"], link["anchor"] or ""
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_path}: expected a file of the repository; got ../{path}")
        if path.startswith(FIGURES) and path.endswith(".svg"):
            return f"]({path})"
        return f"]({config['repo_url'].rstrip('/')}/blob/main/{path}{anchor})"

    return _LINK.sub(replace, markdown)
